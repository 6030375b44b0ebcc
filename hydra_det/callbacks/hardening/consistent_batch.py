"""Adversarial training that keeps clean batches clean, and asks for the same answer on attacked ones."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.modules.raw_maps import filled, tensors_of
from hydra_det.types import Batch, InputError

PENALTY = "consistency"


class ConsistentBatch(AdversarialBatch):
    """Learns from clean images, and pulls the raw maps of their attacked versions to those of the clean ones.

    After TRADES (Zhang et al. 2019, arXiv 1901.08573): the loss is that of the clean batch plus `weight` times the
    disagreement. Unlike there the attack raises the detection loss and not the disagreement, whose gradient is zero
    where it starts. Takes a second forward and backward pass beside those of the attack.

    Args:
        attack: in evaluation, and in training where no other is given.
        weight: of the disagreement, in units of the detection loss; 1 / lambda of the paper.
        options: those of `AdversarialBatch`.
    """

    def __init__(self, attack: Attack | None, *, weight: float = 1.0, **options: Any) -> None:
        super().__init__(attack, **options)
        if not weight > 0:
            raise InputError(f"hardening.weight: expected a number above 0, got {weight}")
        self.weight = weight
        self._attacked: Tensor | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net: Any = pl_module.get_submodule("net")
        if not hasattr(net, "disagreement"):
            raise InputError(f"hardening: expected a network that compares two answers, got {type(net).__name__}")

        def disagreement(raw: Any) -> Tensor | None:
            if self._attacked is None:
                return None
            clean = filled(raw, [level[: len(self._attacked)] for level in tensors_of(raw)])
            return self.weight * net.disagreement(clean, net(self._attacked)).total.mean()

        pl_module.penalties[PENALTY] = disagreement  # type: ignore[operator, index]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._attacked = None
        del pl_module.penalties[PENALTY]  # type: ignore[operator, union-attr]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._attacked = None
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def harden(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> None:
        """Leave the batch as it is, and keep its attacked version for the penalty."""
        if self.training is None:
            return
        self._attacked = self.attacked(trainer, pl_module, self.some(batch), batch_idx)
