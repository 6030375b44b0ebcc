"""Replaces clean images by attacked ones before the step sees them."""

import math

import pytorch_lightning as pl
import torch
from torch import nn

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.attacked_images import attacked_images
from hydra_det.modules.masked_conv import folded
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError

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
        net = pl_module.get_submodule("net") if self.source is None else self.source.to(pl_module.device)
        with undisturbed(net), folded(net), trainer.precision_plugin.forward_context():
            batch["images"] = attacked_images(net, batch, self.attack, generator=generator)


def is_due(batch_idx: int, share: float) -> bool:
    """Whether batch number `batch_idx` is among the attacked share."""
    # In floats 0.29 * 100 is 28.999...; the small term is far below any share and above any rounding.
    before, after = (math.floor(count * share + 1e-9) for count in (batch_idx, batch_idx + 1))
    return after > before
