"""Auto-PGD (Croce and Hein 2020, arXiv 2003.01690): gradient ascent that finds its own step size."""

from typing import Any

import torch
from torch import Tensor

from hydra_det.attacks.base import BallAttack, Cost, Task, check_count, gradient_of

MOMENTUM = 0.75  # share of the new step, alpha of the paper
RISING = 0.75  # share of the steps since the last checkpoint that must have raised the loss, rho of the paper
# Checkpoints in hundredths of all steps: the first period, by how much periods get shorter, the shortest one.
FIRST, SHRINK, LEAST = 22, 3, 6


class APGD(BallAttack):
    """Steps of 2 epsilon at first, halved for an image whenever its loss no longer rises, from the best point so far.

    There is no step size to choose, and the answer is the best iterate, so the loss is never below that of the start.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        steps: number of steps; one forward and one backward pass more.
        random_start: start at a uniformly drawn point of the ball instead of at the image; restarts always do.
        options: those of `BallAttack`.
    """

    def __init__(self, *, epsilon: float = 0.05, steps: int = 50, random_start: bool = False, **options: Any) -> None:
        super().__init__(epsilon=epsilon, **options)
        check_count("steps", steps)
        self.steps = steps
        self.random_start = random_start

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(self.steps + 1, 0)

    def _once(self, task: Task) -> Tensor:
        images, loss, region, generator, first, _ = task
        ball, checkpoints = self.ball, checkpoints_of(self.steps)
        current = images if first and not self.random_start else ball.random(images, region, generator)
        value, gradient = gradient_of(loss, current)  # [B], [B, 3, H, W]
        previous, best, best_value, best_gradient = current, current, value, gradient
        step = torch.full_like(value, 2 * self.epsilon)  # [B]
        rises = torch.zeros_like(value)  # since the last checkpoint
        last_step, last_best = step, best_value  # at the last checkpoint
        last = 0
        for number in range(1, self.steps + 1):
            length = step[:, None, None, None]
            ahead = ball.project(current + length * ball.ascent(gradient, region), images, region)
            if number > 1:
                moved = current + MOMENTUM * (ahead - current) + (1 - MOMENTUM) * (current - previous)
                ahead = ball.project(moved, images, region)
            previous, current = current, ahead
            before = value
            value, gradient = gradient_of(loss, current)
            rises += value > before
            better = value > best_value
            best_value = torch.where(better, value, best_value)
            best, best_gradient = (
                torch.where(better[:, None, None, None], new, old)
                for new, old in ((current, best), (gradient, best_gradient))
            )
            if number in checkpoints:
                stuck = rises < RISING * (number - last)
                idle = (step == last_step) & (best_value == last_best)
                halve = stuck | idle
                last_step, last_best, last = step, best_value, number
                step = torch.where(halve, step / 2, step)
                rises = torch.zeros_like(rises)
                again = halve[:, None, None, None]
                current, gradient = torch.where(again, best, current), torch.where(again, best_gradient, gradient)
                value = torch.where(halve, best_value, value)
        return best


def checkpoints_of(steps: int) -> set[int]:
    """After which steps the step size is reconsidered.

    Example:
        >>> sorted(checkpoints_of(100))
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found, share, period = set(), FIRST, FIRST
    while share < 100:
        found.add(-(-share * steps // 100))  # rounded up
        period = max(period - SHRINK, LEAST)
        share += period
    return found
