"""Notices catastrophic overfitting: one step along the gradient no longer leads to what many steps find.

Training under FGSM can end, within a few batches, in a network that its single step cannot hurt and that PGD destroys
(Wong et al. 2020, arXiv 2001.03994). Then attack with many steps.
"""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from hydra_det.attacks.base import Attack, changes_padding, check_count, evaluate
from hydra_det.callbacks.hardening.attacked_images import content_region, losses_of
from hydra_det.types import Batch, InputError, as_fraction

log = logging.getLogger(__name__)


class OverfittingWatch:
    """Compares, once in a while, the rise of the loss under the cheap attack with that under another one.

    Args:
        fallback: the attack that is compared with, and that is used from then on.
        every: attacked batches from one look to the next; the first one is looked at.
        least: share of the fallback's rise of the mean loss that the cheap attack must reach. One step reaches a
            third to a half on a network that never saw an attack, three quarters on a hardened one, and about 0 or less
            where the network overfitted to it.

    Attributes:
        fell_back_at: the epoch and the global step at which the cheap attack was given up; None: it was not.
        ratios: of every look.
    """

    def __init__(self, fallback: Attack | None, *, every: int = 50, least: float = 0.2) -> None:
        check_count("watch.every", every, group="hardening")
        if not 0 < least < 1:
            raise InputError(f"hardening.watch.least: expected a share in (0, 1), got {as_fraction(least)}")
        if fallback is None:
            raise InputError(
                "hardening.watch: expected an attack to fall back to, got attack=none; give hardening.watch=null"
            )
        if (objective := getattr(fallback, "objective", "total")) != "total":
            raise InputError(
                f"hardening.watch: expected a fallback that raises the total loss, got objective={objective}; give "
                "hardening.watch.fallback.objective=total, or hardening.watch=null"
            )
        self.fallback = fallback
        self.every = every
        self.least = least
        self.fell_back_at: list[int] | None = None
        self.ratios: list[float] = []
        self._seen = 0

    def choose(self, cheap: Attack | None) -> Attack | None:
        """The attack to use: the cheap one until it stops working."""
        return cheap if self.fell_back_at is None else self.fallback

    @property
    def facts(self) -> dict[str, Any]:
        """For the record."""
        lowest = min(self.ratios, default=None)
        return {"fell_back_at": self.fell_back_at, "looks": len(self.ratios), "lowest_ratio": lowest}

    def look(
        self,
        trainer: pl.Trainer,
        net: Any,
        batch: Batch,
        attacked: Tensor,
        *,
        strength: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """See whether the cheap attack still works on a batch that it has just attacked, if it is time for that.

        Args:
            trainer: all its processes decide alike.
            net: undisturbed.
            batch: before the attack.
            attacked: its images after the attack.
            strength: epsilon of the attack, as a share of that of the fallback.
            generator: source of randomness of the fallback.
        """
        self._seen += 1
        if self.fell_back_at is not None or (self._seen - 1) % self.every:
            return
        losses, images = losses_of(net, batch["targets"]), batch["images"]
        fallback = self.fallback if strength == 1 else self.fallback.scaled(strength)
        region = content_region(batch, padding=changes_padding(fallback))
        strong = fallback(images, losses, region=region, generator=generator)
        clean, cheap, best = (evaluate(losses["total"], seen).sum() for seen in (images, attacked, strong))
        # All processes must decide alike.
        cheap_rise, rise = trainer.strategy.reduce(torch.stack([cheap - clean, best - clean]), reduce_op="sum").tolist()
        if not rise > 0:  # nothing raises the loss of this batch: it tells nothing
            return
        self.ratios.append(round(cheap_rise / rise, 4))
        if cheap_rise < self.least * rise:
            self.fell_back_at = [trainer.current_epoch, trainer.global_step]
            log.warning(
                "catastrophic overfitting in epoch %d: the cheap attack raises the loss by %.2f of what the fallback "
                "does, expected at least %.2f; from here on the fallback attacks",
                trainer.current_epoch + 1, self.ratios[-1], self.least,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"fell_back_at": self.fell_back_at, "ratios": self.ratios, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.fell_back_at, self.ratios = state_dict["fell_back_at"], state_dict["ratios"]
        self._seen = state_dict["seen"]
