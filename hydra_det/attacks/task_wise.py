"""The strongest of several objectives for every image (Zhang and Wang 2019, arXiv 1907.10310).

Box and class losses pull an image in different directions, and their sum is the best guide for neither. Nor is it the
best judge: boxes count for little in it, and AP asks for them at ten thresholds.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from hydra_det.attacks.base import BallAttack, Cost, Losses, evaluate, stronger
from hydra_det.attacks.gradient import PGD
from hydra_det.attacks.objectives.registry import check_objective
from hydra_det.types import InputError


class TaskWise(BallAttack):
    """PGD for each objective; every image keeps the answer that a judge finds worst.

    Args:
        objectives: keys of `objectives.registry.OBJECTIVES`.
        epsilon: radius of the ball, in units of images in [0, 1].
        judge: the objective by which answers are compared; `total`, the detection loss, in the paper.
        options: those of `PGD` but the objective.
    """

    def __init__(
        self,
        *,
        objectives: Sequence[str] = ("box", "classification", "objectness"),
        epsilon: float = 0.05,
        judge: str = "total",
        **options: Any,
    ) -> None:
        if isinstance(objectives, str) or not objectives:
            raise InputError(f"attack.objectives: expected a list, as in [box,classification], got {objectives!r}")
        self.objectives = list(objectives)
        self.parts = [PGD(epsilon=epsilon, objective=name, **options) for name in objectives]
        first = self.parts[0]
        super().__init__(
            epsilon=epsilon,
            norm=first.norm,
            restarts=first.restarts,
            eight_bit=first.eight_bit,
            padding=first.padding,
        )
        check_objective(judge, setting="attack.judge")
        self.judge = judge
        self.objective = ", ".join(objectives)  # what is raised, for records
        self.steps, self.step_size, self.random_start = first.steps, first.step_size, first.random_start

    def scaled(self, factor: float) -> Self:
        """See `BallAttack.scaled`."""
        made = super().scaled(factor)
        made.parts = [part.scaled(factor) for part in self.parts]
        return made

    @property
    def cost(self) -> Cost:
        """Of all parts, and of the passes that choose among them."""
        gradients, forwards = (sum(counts) for counts in zip(*(part.cost for part in self.parts), strict=True))
        return Cost(gradients, forwards + (len(self.parts) if len(self.parts) > 1 else 0))

    def __call__(
        self,
        images: Tensor,
        losses: Losses,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`."""
        judge = losses[self.judge]
        best = self.parts[0](images, losses, region=region, generator=generator)
        if len(self.parts) > 1:
            reached = evaluate(judge, best)
            for part in self.parts[1:]:
                other = part(images, losses, region=region, generator=generator)
                best, reached = stronger(best, reached, other, evaluate(judge, other))
        return best
