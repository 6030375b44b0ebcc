"""Keeps the masks of a network equal to the top-k of its scores."""

import logging
from typing import Any

import pytorch_lightning as pl
from torch import nn

from hydra_det.modules.masked_conv import masked_layers, masks_of
from hydra_det.prune.granularity import GRANULARITIES
from hydra_det.prune.masks import kept_units, mask_from_scores
from hydra_det.prune.sparsity import check_sparsity, count_sparsity
from hydra_det.types import InputError

log = logging.getLogger(__name__)


class TopKMask(pl.Callback):
    """Refreshes the masks when a fit starts and after every optimiser step, never in between.

    Every layer keeps the same share (HYDRA's rule), exactly `kept_units(units, ratio)` units.

    Args:
        ratio: fraction of the units of every layer that is removed, in [0, 1).
        granularity: a key of `GRANULARITIES`.
    """

    def __init__(self, *, ratio: float, granularity: str = "weight") -> None:
        kept_units(1, ratio)  # refuses a ratio out of range
        if granularity not in GRANULARITIES:
            raise InputError(f"prune.granularity: expected one of {', '.join(GRANULARITIES)}, got {granularity!r}")
        self.ratio = ratio
        self.granularity = granularity
        self._masked_at = -1  # the global step whose masks are in place

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = pl_module.get_submodule("net")
        self._refresh(net)
        self._masked_at = trainer.global_step
        empty = [name for name, mask in masks_of(net).items() if not mask.any()]
        if empty:
            log.warning("ratio %s keeps nothing of %s: the network is cut there", self.ratio, ", ".join(empty))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        # With accumulated gradients most batches end without an optimiser step.
        if trainer.global_step != self._masked_at:
            self._refresh(pl_module.get_submodule("net"))
            self._masked_at = trainer.global_step

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_sparsity(
            count_sparsity(masks_of(pl_module.get_submodule("net")), granularity=self.granularity), self.ratio
        )

    def _refresh(self, net: nn.Module) -> None:
        for _, layer in masked_layers(net):
            layer.mask.copy_(mask_from_scores(layer.scores, ratio=self.ratio, granularity=self.granularity))
