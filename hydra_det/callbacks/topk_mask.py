"""Keeps the masks of a network equal to the top-k of its scores."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from hydra_det.compaction.channels import layout
from hydra_det.compaction.measured_price import measure, price_of
from hydra_det.compaction.sizes import map_sizes
from hydra_det.modules.masked_conv import masked_layers, masks_of
from hydra_det.pruning.layout import Layout
from hydra_det.pruning.plan import Masks, mask_plan
from hydra_det.pruning.settings import IN_SPARSE, NEED_CHANNELS, PruneSettings
from hydra_det.pruning.units import Price

log = logging.getLogger(__name__)

STARVED = 0.01  # of all output channels: where more than these are left no weight, it is said


class TopKMask(pl.Callback):
    """Refreshes the masks when a fit starts and after every optimiser step, never in between.

    Args:
        prune: what is removed, how much, and how it is shared out over the layers.
        final: the masks are not trained any more. They keep as much of every layer as the trained ones did where that
            was learned or measured.

    Attributes:
        facts: of final masks, how many units every layer or group of filters has, how many of them are kept, and, for
            single weights and kernels, how many output channels are left none.
    """

    def __init__(self, prune: PruneSettings, *, final: bool = False) -> None:
        self.prune = prune
        self.final = final
        self.facts: dict[str, Any] = {}
        self._masked_at = -1  # the global step whose masks are in place
        self._learned: dict[str, Any] = {}
        self._tables: Any = None  # of a budget of time: what layers take, measured once

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = pl_module.get_submodule("net")
        found = layout(net, channels=self.prune.granularity in NEED_CHANNELS)
        price = None
        if self.prune.budget == "latency" and not self.final:
            if self._tables is None:  # one process measures, undisturbed by the others
                tables = _measured(self.prune, net, found, _size(trainer)) if trainer.is_global_zero else None
                self._tables = trainer.strategy.broadcast(tables)
            price = _price(self.prune, self._tables, found)
        self._plan = mask_plan(self.prune, found, price)
        if self._learned:
            self._plan.learned.load_state_dict(self._learned)
        self._refresh(net)
        self._masked_at = trainer.global_step

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self.prune.allocation == "learned":
            net = pl_module.get_submodule("net")
            slopes = {name: _slopes(layer.scores) for name, layer in masked_layers(net)}
            self._plan.learn(scores_of(net), slopes, masks_of(net))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        # With accumulated gradients most batches end without an optimiser step.
        if trainer.global_step != self._masked_at:
            self._refresh(pl_module.get_submodule("net"))
            self._masked_at = trainer.global_step

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.final:
            masks = masks_of(pl_module.get_submodule("net"))
            self._plan.check(masks)
            self.facts = {"units_kept": self._plan.counts_in(masks), "units": self._plan.sizes}
            self._tell_starved(masks)

    def _tell_starved(self, masks: Masks) -> None:
        """Say where single weights or kernels leave channels without any, though whole channels were not to go."""
        if self.prune.granularity not in IN_SPARSE:
            return
        starved = {name: int((~mask.flatten(1).any(1)).sum()) for name, mask in masks.items()}
        channels = sum(len(mask) for mask in masks.values())
        self.facts["starved_channels"] = lost = sum(starved.values())
        if lost > STARVED * channels:
            worst = max(starved, key=lambda name: starved[name] / len(masks[name]))
            advice = (
                "; prune.allocation=erk or learned spare small layers" if self.prune.allocation == "uniform" else ""
            )
            log.warning(
                "the masks leave %d of %d channels no weight; the largest share in %s (%d of %d)%s",
                lost, channels, worst, starved[worst], len(masks[worst]), advice,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """What was learned and measured beside the scores."""
        learned = self._plan.learned.state_dict() if self.prune.allocation == "learned" else {}
        return {"learned": learned, "tables": self._tables}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`; the plan is made when the fit starts."""
        self._learned, self._tables = state_dict["learned"], state_dict["tables"]

    def _refresh(self, net: nn.Module) -> None:
        masks = masks_of(net)
        counts = self._plan.counts_in(masks) if self.final and self._plan.settled else None
        set_masks(net, self._plan.masks(scores_of(net), counts=counts, final=self.final))


def set_masks(net: nn.Module, masks: Masks) -> None:
    """Let the masked layers of a network keep what masks by their names say."""
    for name, layer in masked_layers(net):
        layer.mask.copy_(masks[name])


def scores_of(net: nn.Module) -> dict[str, torch.Tensor]:
    """Layer name -> scores [O, I/groups, kH, kW], without a gradient."""
    return {name: layer.scores.detach() for name, layer in masked_layers(net)}


def _measured(prune: PruneSettings, net: nn.Module, found: Layout, image_size: int) -> Any:
    """What layers take: channels in torch where it trains, single weights and kernels in the sparse engine."""
    if prune.granularity not in IN_SPARSE:
        return measure(net, found, image_size=image_size)
    from hydra_det.engines.sparse import prices  # noqa: PLC0415

    sizes = {name: size for name, (size, _) in map_sizes(net, image_size).items()}
    layers: dict[str, Any] = {name: net.get_submodule(name) for name in found.layers}
    kernels = prune.granularity == "kernel"
    return prices.measure(layers, sizes, kernels=kernels, threads=torch.get_num_threads())


def _price(prune: PruneSettings, tables: Any, found: Layout) -> Price:
    if prune.granularity not in IN_SPARSE:
        return price_of(tables, found)
    from hydra_det.engines.sparse.prices import milliseconds  # noqa: PLC0415

    def price(name: str, filters: float, inputs: float) -> float:
        shape = found.layers[name].shape
        return milliseconds(tables[name], filters / shape[0] * inputs / shape[1])

    return price


def _slopes(scores: nn.Parameter) -> torch.Tensor:
    """Derivative of the loss by the mask: what came straight through to |score|."""
    if scores.grad is None:
        return torch.zeros_like(scores)
    return scores.grad * scores.detach().sign()


def _size(trainer: pl.Trainer) -> int:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return int(data.image_size)
