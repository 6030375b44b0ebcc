"""The attack of Carlini and Wagner (2017, arXiv 1608.04644) for detectors: the least change that loses all objects.

It minimises |change|^2 + c * (sum of the margins by which objects are found), with c found by bisection for each image.
The change of variables keeps pixels in [0, 1], and within epsilon of the image, by itself.
"""

from typing import Any

import torch
from torch import Tensor

from hydra_det.attacks.base import BallAttack, Cost, Task, check_count
from hydra_det.types import InputError

INSIDE = 0.99  # at the border of its range a pixel would have no gradient


class CarliniWagner(BallAttack):
    """The L2 attack, within an L-infinity ball so that its images compare with those of other attacks.

    An image counts as lost where the objective has reached 0, its largest value: no anchor that was assigned to an
    object finds it with a confidence of 0.5. What matters is how far that is; AP counts less certain detections too.
    If no constant achieves it, the answer is the iterate with the highest objective.

    Args:
        epsilon: no pixel channel moves further; 1 is the attack of the paper.
        searches: constants that are tried for every image.
        steps: of Adam for each constant.
        rate: learning rate of Adam.
        constant: the first one.
        options: those of `BallAttack`; the objective must have 0 as its largest value.
    """

    def __init__(
        self,
        *,
        epsilon: float = 0.05,
        searches: int = 5,
        steps: int = 40,
        rate: float = 0.05,
        constant: float = 1.0,
        objective: str = "margins",
        **options: Any,
    ) -> None:
        super().__init__(epsilon=epsilon, objective=objective, **options)
        check_count("searches", searches)
        check_count("steps", steps)
        for name, value in (("rate", rate), ("constant", constant)):
            if not value > 0:
                raise InputError(f"attack.{name}: expected a number above 0, got {value}")
        if self.objective != "margins":
            raise InputError(f"attack.objective: expected margins for Carlini and Wagner, got {objective}")
        if self.norm != "linf":
            raise InputError(f"attack.norm: expected linf, the bound around the L2 attack, got {self.norm}")
        if self.restarts != 1:
            raise InputError(f"attack.restarts: expected 1 for Carlini and Wagner, got {self.restarts}; raise searches")
        self.searches = searches
        self.steps = steps
        self.rate = rate
        self.constant = constant

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(self.searches * self.steps, 0)

    def _once(self, task: Task) -> Tensor:
        images = task.images
        best = _Best(images)
        constant = torch.full((len(images),), self.constant, device=images.device)
        least, most = torch.zeros_like(constant), torch.full_like(constant, float("inf"))
        for _ in range(self.searches):
            lost = self._descend(task, constant, best)
            most, least = torch.where(lost, constant, most), torch.where(lost, least, constant)
            constant = torch.where(most.isinf(), constant * 10, (least + most) / 2)
        return self.ball.project(best.images, images, task.region)

    def _descend(self, task: Task, constant: Tensor, best: "_Best") -> Tensor:
        """Adam for one constant an image. -> [B] bool, whether the image was lost on the way"""
        images, loss, region = task.images, task.loss, task.region
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        centre, half = (low + high) / 2, (high - low) / 2
        share = ((images - centre) / half.clamp(min=1e-12)).clamp(-INSIDE, INSIDE)
        free = torch.atanh(share).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=self.rate)
        lost = torch.zeros_like(constant, dtype=torch.bool)
        for _ in range(self.steps):
            with torch.enable_grad():
                moved = centre + half * torch.tanh(free)
                moved = moved if region is None else torch.where(region, moved, images)
                distance = (moved - images).square().sum((1, 2, 3))  # [B]
                value = loss(moved)  # [B], at most 0
                (free.grad,) = torch.autograd.grad((distance - constant * value).sum(), free)
            lost |= best.keep(moved.detach(), value.detach(), distance.detach())
            optimizer.step()
        return lost


class _Best:
    """Of every image the smallest change that loses it, else the one with the highest objective."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.value = torch.full((len(images),), -float("inf"), device=images.device)
        self.distance = torch.full_like(self.value, float("inf"))

    def keep(self, images: Tensor, value: Tensor, distance: Tensor) -> Tensor:
        """Take what is better. -> [B] bool, what is lost now"""
        lost = value >= 0
        closer = lost & ((self.value < 0) | (distance < self.distance))
        higher = ~lost & (value > self.value)
        better = closer | higher
        self.images = torch.where(better[:, None, None, None], images, self.images)
        self.value = torch.where(better, value, self.value)
        self.distance = torch.where(better, distance, self.distance)
        return lost
