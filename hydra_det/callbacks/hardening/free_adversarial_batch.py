"""Adversarial training for the price of a clean one: the gradient that trains also attacks."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hydra_det.attacks.ball import Ball, check_radius
from hydra_det.attacks.base import Attack, changes_padding, check_count
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch, check_norms
from hydra_det.callbacks.hardening.attacked_images import content_region
from hydra_det.types import Batch


class FreeAdversarialBatch(AdversarialBatch):
    """Free adversarial training (Shafahi et al. 2019, arXiv 1904.12843).

    A batch is trained on several times in a row. The backward pass of each step also gives the gradient by the images,
    along whose sign they move by epsilon for the next one. No pass is made for the attack, but an epoch sees only one
    in `replays` of its batches. Unlike other attacks in training this one sees BatchNorm as it trains.

    Args:
        attack: in evaluation; where it may change padding, so may training.
        epsilon: radius of the L-infinity ball in training, in units of images in [0, 1]; also the length of a step.
        replays: steps on a batch.
        fresh: every batch begins at its clean images, so that one step in `replays` is clean; else with the change of
            the batch before, as in the paper; the first batch of an epoch always begins clean.
        share: of the groups of `replays` steps that are hardened, in [0, 1]; the others see their own batches, clean.
        first_epoch: the epochs before it train on clean batches only.
        ramp_epochs: epsilon grows over so many epochs, by equal steps, to its value.
        seed: nothing is drawn in training.
    """

    def __init__(
        self,
        attack: Attack | None,
        *,
        epsilon: float,
        replays: int = 4,
        fresh: bool = False,
        share: float = 0.0,
        first_epoch: int = 0,
        ramp_epochs: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(attack, share=share, first_epoch=first_epoch, ramp_epochs=ramp_epochs, seed=seed)
        check_radius(epsilon, "linf", group="hardening")
        check_count("replays", replays, least=2, group="hardening")
        if attack is not None:
            check_norms(attack.norm, "linf")
        self.epsilon = epsilon
        self.replays = replays
        self.fresh = fresh
        self._held: Batch | None = None  # the clean batch that is replayed
        self._change: Tensor | None = None  # that the next step adds to it
        self._moved: Tensor | None = None  # what the step sees: a leaf, in which its gradient gathers

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._moved = None
        if batch_idx == 0:
            self._change = None
        if batch_idx % self.replays == 0:
            self._held = None
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx // self.replays)

    def harden(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> None:
        """Show the step the held batch, moved along the gradient of the last one."""
        if self._held is None:
            self._held = Batch(images=batch["images"].detach(), targets=batch["targets"])
            if self.fresh:
                self._change = None
        clean, change = self._held["images"], self._change
        change = change if change is None else change.to(clean.device)  # out of a checkpoint it comes on the CPU
        ball = Ball(self.epsilon * self.strength(trainer))
        if change is not None and change.shape == clean.shape:  # else another size, or the smaller batch at the end
            region = content_region(self._held, padding=changes_padding(self.attack))
            self._moved = ball.project(clean + change, clean, region).requires_grad_()
        else:
            self._moved = clean.clone().requires_grad_()
        batch["images"], batch["targets"] = self._moved, self._held["targets"]

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._moved is not None and self._held is not None and self._moved.grad is not None:
            step = self.epsilon * self.strength(trainer) * self._moved.grad.nan_to_num().sign()
            self._change = self._moved.detach() + step - self._held["images"]
            self._moved = None

    def holds_back(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """A batch that is replayed, and the changes of the other processes: a checkpoint holds those of the first."""
        return (batch_idx + 1) % self.replays != 0 or (trainer.world_size > 1 and self._change is not None)

    def state_dict(self) -> dict[str, Any]:
        """The change that the next batch begins with."""
        return {"change": self._change}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._change = state_dict["change"]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._held = self._change = self._moved = None
