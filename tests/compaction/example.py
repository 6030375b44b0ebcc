"""Networks with masks of every kind, whose signal is as strong in the last layer as in the first."""

from typing import Any

import torch
from torch import nn

from hydra_det.compaction.channels import layout, silence
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings
from tests.init.example import answering


def with_masks(name: str, granularity: str, ratio: float, *, seed: int = 0, quiet: bool = True) -> Any:
    """A masked network in eval mode.

    Args:
        name: of the network.
        granularity: of the masks, or `random` for weights drawn without any rule.
        ratio: that is removed.
        seed: of the scores.
        quiet: BatchNorm of dead channels is zero, as after the stage `prune`.
    """
    net = make_masked(answering(name))
    generator = torch.Generator().manual_seed(seed)
    layers = dict(masked_layers(net))
    scores = {key: torch.rand(layer.weight.shape, generator=generator) for key, layer in layers.items()}
    if granularity == "random":
        masks = {key: score >= ratio for key, score in scores.items()}
    else:
        masks = mask_plan(PruneSettings(ratio=ratio, granularity=granularity), layout(net)).masks(scores, final=True)
    for key, layer in layers.items():
        layer.mask.copy_(masks[key])
    if quiet:
        silence(net)
    return net.eval()


def parameters(net: nn.Module) -> int:
    """Numbers in a network that are learned."""
    return sum(parameter.numel() for parameter in net.parameters())
