"""Holds BatchNorm of the channels that a final mask has silenced at zero."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.compaction.channels import Flags, cut_off, silence
from hydra_det.types import InputError, RatioError

log = logging.getLogger(__name__)


class DeadChannels(pl.Callback):
    """Makes the removal of pruned filters exact.

    A filter whose weights are all masked still emits the constant that BatchNorm makes of zero. Here scale and shift of
    such channels are set to zero when a fit starts, and their gradients before every step. Masks must be final.
    """

    def __init__(self) -> None:
        self._dead: dict[nn.Module, Tensor] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = pl_module.get_submodule("net")
        for name, flags in silence_dead(net).items():
            norm: Any = net.get_submodule(name)
            self._dead[norm] = torch.from_numpy(flags).to(norm.weight.device)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        for norm, dead in self._dead.items():
            for parameter in (norm.weight, norm.bias):
                if isinstance(parameter, nn.Parameter) and parameter.grad is not None:
                    parameter.grad[dead] = 0


def silence_dead(net: nn.Module) -> dict[str, Flags]:
    """Zero scale and shift of BatchNorm where final masks leave a channel nothing, in place.

    Returns:
        BatchNorm -> [C] bool, True where a channel is dead; nothing of a network that cannot be traced.

    Raises:
        RatioError: the masks leave a raw map no way from the image.
    """
    try:
        cut = cut_off(net)
    except InputError as error:  # no graph says which channels the masks leave nothing
        log.info("channels that carry nothing are not looked for: %s", error)
        return {}
    if cut:
        raise RatioError(
            "prune: expected masks that leave every raw map a way from the image, got nothing for "
            f"{', '.join(cut)}; lower prune.ratio, raise prune.min_keep, or exclude layers by prune.exclude"
        )
    found = silence(net)
    silent = sum(int(flags.sum()) for flags in found.values())
    log.info("%d of %d channels carry nothing", silent, sum(len(flags) for flags in found.values()))
    if empty := [name for name, flags in found.items() if flags.all()]:
        log.warning("these layers add nothing and go with their branch: %s", ", ".join(empty))
    return found
