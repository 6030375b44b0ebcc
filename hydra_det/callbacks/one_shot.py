"""Pruning at once, without a trainer: what the stage `prune` does to a network whose scores are there."""

from typing import Any

from torch import nn

from hydra_det.callbacks.dead_channels import silence_dead
from hydra_det.callbacks.topk_mask import scores_of, set_masks
from hydra_det.compaction.channels import layout
from hydra_det.modules.masked_conv import masks_of
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import NEED_CHANNELS, PruneSettings
from hydra_det.types import InputError


def prune(
    net: nn.Module, ratio: float, granularity: str = "weight", allocation: str = "uniform", **settings: Any
) -> nn.Module:
    """Let final masks keep the units with the largest scores, in place.

    Channels that the masks leave without a weight also lose what BatchNorm makes of nothing, for good, so that
    `compact` can remove them and answers the same: to try several ratios, prune copies. Weights stay as they are below
    the masks. Where something is raised, the network is as it was.

    Args:
        net: masked and scored, by `make_masked` and `initial_scores` or by training of scores.
        ratio: fraction that is removed, in [0, 1).
        granularity: what is kept or removed as one: `weight`, `kernel`, `filter`, `filter_group`, `hybrid` or `nm`.
        allocation: how the ratio is shared out over layers: `uniform`, `global`, `erk` or `lamp`.
        **settings: the others of `PruneSettings`, such as `min_keep=2`.

    Returns:
        The same network.

    Raises:
        InputError: no scores, or a setting that training or a clock is needed for.
        RatioError: the ratio leaves no network.
    """
    asked = PruneSettings(ratio=ratio, granularity=granularity, allocation=allocation, **settings)
    if asked.exclude:
        raise InputError("exclude: expected none here, got some; give them to make_masked(net, exclude=...)")
    if allocation == "learned" or asked.budget == "latency":
        raise InputError(
            f"prune: expected an allocation and a budget that the scores alone decide, got allocation={allocation} and "
            f"budget={asked.budget}; train scores with the callback TopKMask for these"
        )
    scores = scores_of(net)
    if not any(bool(values.any()) for values in scores.values()):
        raise InputError("net: expected masked layers with scores, got none; call make_masked and initial_scores first")
    plan = mask_plan(asked, layout(net, channels=asked.granularity in NEED_CHANNELS))
    before = {name: mask.clone() for name, mask in masks_of(net).items()}
    set_masks(net, plan.masks(scores, final=True))
    try:
        plan.check(masks_of(net))
        silence_dead(net)
    except BaseException:
        set_masks(net, before)
        raise
    return net
