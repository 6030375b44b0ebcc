"""Replaces clean images by attacked ones before the step sees them: the only place where attack and network meet."""

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.attacks.base import Attack, Losses, LossFunction
from hydra_det.attacks.objectives import OBJECTIVES, Objective, Reading
from hydra_det.modules.masked_conv import folded
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError, LossTerms, Target

CLEAN, ATTACKED = "clean", "attacked"
# Evaluation goes over the same images once per pass, in this order.
PASSES = (CLEAN, ATTACKED)


class AdversarialBatch(pl.Callback):
    """Attacks a share of the training batches and the second pass of every evaluation.

    The rule in training: from epoch `first_epoch` on, batch k of an epoch is attacked if and only if
    `floor((k + 1) * share) > floor(k * share)`. A share of 0.5 attacks every second batch, the others stay clean.

    The attack raises its objective on the network as it is scored: in eval mode, with frozen BatchNorm
    statistics. It leaves no gradient and no flag behind, also when it fails. Letterbox padding is not perturbed.

    Args:
        attack: None attacks nothing.
        share: of the training batches, in [0, 1].
        first_epoch: the epochs before it train on clean batches only.
        seed: of the attacks that draw.
        source: the network whose loss is raised; None: the one that is trained or evaluated.
    """

    def __init__(
        self,
        attack: Attack | None,
        *,
        share: float = 0.0,
        first_epoch: int = 0,
        seed: int = 0,
        source: nn.Module | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"attacked_share: expected a share of the batches in [0, 1], got {share}")
        self.attack = attack
        self.share = share
        self.first_epoch = first_epoch
        self.seed = seed
        self.source = source

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if trainer.current_epoch >= self.first_epoch and is_due(batch_idx, self.share):
            self._replace(trainer, pl_module, batch, draw=(trainer.current_epoch, batch_idx))

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if PASSES[dataloader_idx] == ATTACKED:
            self._replace(trainer, pl_module, batch, draw=(batch_idx,))

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def _replace(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, *, draw: tuple[int, ...]
    ) -> None:
        if self.attack is None:
            return
        if torch.is_inference_mode_enabled():
            raise InputError(
                "trainer.inference_mode: expected false, got true; an attack needs gradients in evaluation"
            )
        generator = torch.Generator().manual_seed(hash((self.seed, *draw, trainer.global_rank)) % 2**63)
        net = self.source or pl_module.get_submodule("net")
        with undisturbed(net), folded(net), trainer.precision_plugin.forward_context():
            batch["images"] = attacked_images(net, batch, self.attack, generator=generator)


def is_due(batch_idx: int, share: float) -> bool:
    """Whether batch number `batch_idx` is among the attacked share."""
    # In floats 0.29 * 100 is 28.999...; the small term is far below any share and above any rounding.
    before, after = (math.floor(count * share + 1e-9) for count in (batch_idx, batch_idx + 1))
    return after > before


class NetworkView:
    """What a network says of a batch, for objectives.

    Args:
        net: the network.
        raw: its raw maps.
    """

    def __init__(self, net: Any, raw: Any) -> None:
        self.net = net
        self.raw = raw

    def losses(self, targets: Sequence[Target]) -> LossTerms:
        """Loss terms for a ground truth. [B] each"""
        terms: LossTerms = self.net.losses(self.raw, targets)
        return terms

    def margins(self, targets: Sequence[Target]) -> Tensor:
        """By how much the objects of every image are found, 0 where none is. [B]"""
        if not hasattr(self.net, "margins"):
            raise InputError(
                f"attack.objective: expected one that {type(self.net).__name__} has a term for, got margins; choose "
                "total or another loss term"
            )
        found: Tensor = self.net.margins(self.raw, targets)
        return found


def losses_of(net: Any, targets: Sequence[Target]) -> Losses:
    """What a network can be attacked for on a batch with this ground truth, by objective."""

    def loss_of(objective: Objective) -> LossFunction:
        return lambda images: objective(Reading(NetworkView(net, net(images)), targets, net.num_classes))

    return {name: loss_of(objective) for name, objective in OBJECTIVES.items()}


def attacked_images(net: Any, batch: Batch, attack: Attack, *, generator: torch.Generator | None = None) -> Tensor:
    """The images of a batch after an attack on `net`; padding is not perturbed. [B, 3, H, W]

    The network should be undisturbed: in eval mode, and with no parameter that asks for a gradient.
    """
    losses = losses_of(net, batch["targets"])
    return attack(batch["images"], losses, region=content_region(batch), generator=generator)


def content_region(batch: Batch) -> Tensor:
    """True where the images of a batch are not letterbox padding. [B, 1, H, W] bool"""
    device = batch["images"].device
    return torch.stack([target["letterbox"].content_mask(device=device) for target in batch["targets"]])[:, None]
