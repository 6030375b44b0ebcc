"""Noise: the control that knows no gradient. A robust network must beat it with ease, an attack must beat it always."""

from typing import Any

from torch import Tensor

from hydra_det.attacks.base import BallAttack, Cost, Task


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

    def _once(self, task: Task) -> Tensor:
        return self.ball.random(task.images, task.region, task.generator)
