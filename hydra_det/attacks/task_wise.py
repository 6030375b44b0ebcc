"""The strongest of several objectives for every image (Zhang and Wang 2019, arXiv 1907.10310).

Box and class losses pull an image in different directions, and their sum is the best guide for neither.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hydra_det.attacks.base import Attack, Cost, Losses, evaluate, stronger
from hydra_det.attacks.gradient import PGD
from hydra_det.attacks.objectives import check_objective
from hydra_det.types import InputError


class TaskWise:
    """PGD for each objective; every image keeps the answer with the highest detection loss.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        step_size: of each PGD; None: 2.5 * epsilon / steps.
        steps: of each PGD.
        random_start: of each PGD.
        objectives: keys of `objectives.OBJECTIVES`.
        norm: a key of `ball.NORMS`.
        restarts: of each PGD.
        eight_bit: as in `BallAttack`.
    """

    objective = "total"  # what chooses among them

    def __init__(
        self,
        *,
        epsilon: float = 0.05,
        step_size: float | None = 0.02,
        steps: int = 5,
        random_start: bool = False,
        objectives: Sequence[str] = ("box", "classification", "objectness"),
        norm: str = "linf",
        restarts: int = 1,
        eight_bit: bool = False,
    ) -> None:
        if isinstance(objectives, str) or not objectives:
            raise InputError(f"attack.objectives: expected a list, as in [box,classification], got {objectives!r}")
        for name in objectives:
            check_objective(name)
        self.epsilon = epsilon
        self.step_size = step_size
        self.steps = steps
        self.random_start = random_start
        self.norm = norm
        self.restarts = restarts
        self.eight_bit = eight_bit
        self.parts: list[Attack] = [
            PGD(
                epsilon=epsilon, step_size=step_size, steps=steps, random_start=random_start, objective=name, norm=norm,
                restarts=restarts, eight_bit=eight_bit,
            )
            for name in objectives
        ]  # fmt: skip

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
        judge = losses[self.objective]
        best = self.parts[0](images, losses, region=region, generator=generator)
        if len(self.parts) > 1:
            reached = evaluate(judge, best)
            for part in self.parts[1:]:
                other = part(images, losses, region=region, generator=generator)
                best, reached = stronger(best, reached, other, evaluate(judge, other))
        return best
