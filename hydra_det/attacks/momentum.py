"""Gradient ascent with momentum and shrinking steps, from where a first attack ended.

Momentum on gradients of length 1 is that of Dong et al. 2018 (arXiv 1710.06081). An objective that is not smooth, as
that of AP, needs it: what is worth something changes with every step.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor

from hydra_det.attacks.ball import SIDES
from hydra_det.attacks.base import Attack, BallAttack, Cost, Task, check_count, gradient_of
from hydra_det.types import InputError, as_fraction


class Momentum(BallAttack):
    """Steps along a mean of normalised gradients, from `largest` down to `smallest` as a cosine falls.

    The answer is the last iterate; of several tries every image keeps the one with the highest objective.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        steps: number of steps.
        start: an attack that is run first; the first try begins where it ended. None: at the image. Restarts begin
            at drawn points.
        momentum: share of the earlier gradients in the mean, in [0, 1).
        largest: length of the first step, as a share of epsilon.
        smallest: what it falls to.
        options: those of `BallAttack`.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.05,
        steps: int = 20,
        objective: str = "average_precision",
        start: Attack | None = None,
        momentum: float = 0.75,
        largest: float = 0.25,
        smallest: float = 0.02,
        **options: Any,
    ) -> None:
        super().__init__(epsilon=epsilon, objective=objective, **options)
        check_count("steps", steps)
        if not 0 <= momentum < 1:
            raise InputError(f"attack.momentum: expected a share in [0, 1), got {as_fraction(momentum)}")
        if not 0 < smallest <= largest <= 1:
            raise InputError(
                f"attack.largest: expected a share of epsilon in (0, 1], and smallest no more than that, got {largest} "
                f"and {smallest}"
            )
        if start is not None and (start.norm, start.epsilon) != (self.norm, epsilon):
            raise InputError(
                f"attack.start: expected an attack in the same ball, {self.norm} of {epsilon}, got one in {start.norm} "
                f"of {start.epsilon}"
            )
        self.steps = steps
        self.start = start
        self.momentum = momentum
        self.largest = largest
        self.smallest = smallest

    def scaled(self, factor: float) -> Self:
        """See `BallAttack.scaled`."""
        made = super().scaled(factor)
        made.start = None if self.start is None else self.start.scaled(factor)
        return made

    @property
    def cost(self) -> Cost:
        """Of all tries, and of what the first one starts from."""
        tries, first = super().cost, Cost(0, 0) if self.start is None else self.start.cost
        return Cost(tries.gradients + first.gradients, tries.forwards + first.forwards)

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(self.steps, 0)

    def _once(self, task: Task) -> Tensor:
        images, loss, region = task.images, task.loss, task.region
        current, mean = self._begin(task), torch.zeros_like(images)
        for step in range(self.steps):
            _, gradient = gradient_of(loss, current)
            mean = self.momentum * mean + (1 - self.momentum) * _normalised(gradient)
            moved = current + self._length(step) * self.ball.ascent(mean, region)
            current = self.ball.project(moved, images, region)
        return current

    def _begin(self, task: Task) -> Tensor:
        images, region, generator = task.images, task.region, task.generator
        if not task.first:
            return self.ball.random(images, region, generator)
        return images if self.start is None else self.start(images, task.losses, region=region, generator=generator)

    def _length(self, step: int) -> float:
        falls = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.epsilon * (self.smallest + (self.largest - self.smallest) * falls)


def _normalised(gradient: Tensor) -> Tensor:
    """With a mean magnitude of 1 in every image, or 0. [B, 3, H, W]"""
    return gradient / gradient.abs().mean(SIDES, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
