"""Noise: the control that knows no gradient. A robust network must beat it with ease, an attack must beat it always."""

from typing import Any

import torch
from torch import Tensor

from hydra_det.attacks.base import BallAttack, Cost, LossFunction


class Noise(BallAttack):
    """Uniform noise in the ball; the loss is only asked which of several tries is the strongest.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        options: those of `BallAttack`.
    """

    def __init__(self, *, epsilon: float = 0.05, **options: Any) -> None:
        super().__init__(epsilon=epsilon, **options)

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(0, 0)

    def _once(
        self,
        images: Tensor,
        loss: LossFunction,
        *,
        region: Tensor | None,
        generator: torch.Generator | None,
        first: bool,
    ) -> Tensor:
        return self.ball.random(images, region, generator)
