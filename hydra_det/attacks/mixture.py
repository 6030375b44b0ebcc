"""Now one attack and now another, for training against both at the cost of one."""

import math
from typing import Self

import torch
from torch import Tensor

from hydra_det.attacks.base import Attack, Cost, Losses, changes_padding
from hydra_det.types import InputError, as_fraction


class Mixture:
    """Of two attacks one is drawn for every batch.

    Args:
        first: an attack.
        second: another one in the same ball.
        share: of the batches that the first one attacks, in [0, 1].
    """

    def __init__(self, *, first: Attack, second: Attack, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"attack.share: expected a share of the batches in [0, 1], got {as_fraction(share)}")
        balls = [(attack.norm, attack.epsilon, changes_padding(attack)) for attack in (first, second)]
        if balls[0] != balls[1]:
            said = ("{} of {}, padding {}".format(*ball) for ball in balls)
            raise InputError("attack.second: expected the ball of the first, {}, got {}".format(*said))
        self.first = first
        self.second = second
        self.share = share
        self.norm, self.epsilon, self.padding = balls[0]
        self.eight_bit = any(getattr(attack, "eight_bit", False) for attack in (first, second))

    @property
    def cost(self) -> Cost:
        """On average, rounded up."""
        pairs = zip(self.first.cost, self.second.cost, strict=True)
        return Cost(*(math.ceil(self.share * one + (1 - self.share) * other) for one, other in pairs))

    def scaled(self, factor: float) -> Self:
        """See `Attack`."""
        return type(self)(first=self.first.scaled(factor), second=self.second.scaled(factor), share=self.share)

    def __call__(
        self,
        images: Tensor,
        losses: Losses,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`."""
        drawn = float(torch.rand((), generator=generator))
        attack = self.first if drawn < self.share else self.second
        return attack(images, losses, region=region, generator=generator)
