"""Attacks along the gradient: PGD (Madry et al. 2018, arXiv 1706.06083), and FGSM, one step of it."""

import logging
from typing import Any, Self

from torch import Tensor

from hydra_det.attacks.ball import check_step
from hydra_det.attacks.base import BallAttack, Cost, Task, check_count, gradient_of

log = logging.getLogger(__name__)

REACH = 2.5  # steps together go this many times as far as the ball is wide: Madry's rule


class PGD(BallAttack):
    """Projected gradient ascent on the loss.

    The defaults are Algorithm 1 of Liu, "Efficient and Adversarially Robust Object Detection": 5 steps of 0.02 in a
    ball of 0.05, starting from the image itself, the last iterate is the answer. One forward pass and one backward pass
    to the image a step.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        step_size: length of one step, same unit; None: 2.5 * epsilon / steps.
        steps: number of steps.
        random_start: start at a uniformly drawn point of the ball instead of at the image; restarts always do.
        options: those of `BallAttack`.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.05,
        step_size: float | None = 0.02,
        steps: int = 5,
        random_start: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(epsilon=epsilon, **options)
        check_count("steps", steps)
        if step_size is not None:
            check_step(step_size, self.norm)
        self.step_size = REACH * epsilon / steps if step_size is None else step_size
        self.steps = steps
        self.random_start = random_start
        if self.steps * self.step_size < epsilon:
            log.warning(
                "%d steps of %g reach %g of epsilon %g: a weak attack; raise attack.step_size or attack.steps, or set "
                "attack.step_size=null", steps, self.step_size, self.steps * self.step_size, epsilon,
            )  # fmt: skip

    def scaled(self, factor: float) -> Self:
        """See `BallAttack.scaled`."""
        made = super().scaled(factor)
        made.step_size = factor * self.step_size
        return made

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(self.steps, 0)

    def _once(self, task: Task) -> Tensor:
        images, loss, region, generator, first, _ = task
        adversarial = images
        if self.random_start or not first:
            adversarial = self.ball.random(images, region, generator)
        for _ in range(self.steps):
            _, gradient = gradient_of(loss, adversarial)
            moved = adversarial + self.step_size * self.ball.ascent(gradient, region)
            adversarial = self.ball.project(moved, images, region)
        return adversarial


class FGSM(PGD):
    """The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): PGD with one step of length epsilon.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        random_start: step from a uniformly drawn point of the ball, by 1.25 epsilon (Wong et al. 2020, arXiv
            2001.03994).
        options: those of `BallAttack`.
    """

    def __init__(self, *, epsilon: float = 0.05, random_start: bool = False, **options: Any) -> None:
        step_size = 1.25 * epsilon if random_start else epsilon
        super().__init__(epsilon=epsilon, step_size=step_size or None, steps=1, random_start=random_start, **options)
