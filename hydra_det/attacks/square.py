"""Square Attack (Andriushchenko et al. 2020, arXiv 1912.00049): random search that asks for losses, not gradients.

It shows whether gradients were hidden from the others: a network that falls to it but not to PGD is not robust.
"""

from typing import Any

import torch
from torch import Tensor

from hydra_det.attacks.ball import frames
from hydra_det.attacks.base import BallAttack, Cost, Task, check_count, evaluate
from hydra_det.types import InputError, as_fraction

# After these shares of all queries the area of a square is halved.
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class Square(BallAttack):
    """Squares of one colour at the border of the ball, kept where they raise the loss of their image. L-infinity only.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        queries: forward passes, the first one for vertical stripes.
        area: share of the image that the first squares cover, in (0, 1].
        options: those of `BallAttack`.
    """

    def __init__(self, *, epsilon: float = 0.05, queries: int = 1000, area: float = 0.3, **options: Any) -> None:
        super().__init__(epsilon=epsilon, **options)
        check_count("queries", queries)
        if not 0 < area <= 1:
            raise InputError(f"attack.area: expected a share of the image in (0, 1], got {as_fraction(area)}")
        if self.norm != "linf":
            raise InputError(f"attack.norm: expected linf for Square, got {self.norm}")
        self.queries = queries
        self.area = area

    @property
    def cost_of_a_try(self) -> Cost:
        return Cost(0, self.queries + 1)

    def _once(self, task: Task) -> Tensor:
        images, loss, region, generator, _, _ = task
        count, colours, _, width = images.shape
        stripes = self._signs((count, colours, 1, width), generator).to(images)
        windows = frames(images, region)
        best, value = images, evaluate(loss, images)
        for query in range(self.queries):
            if query == 0:
                tried = self.ball.project(images + self.epsilon * stripes, images, region)
            else:
                tried = best.clone()
                shades = self._signs((count, colours, 1, 1), generator).to(images)
                for index, (first_row, first_column, rows, columns) in enumerate(windows):
                    side = self._side(query, rows, columns)
                    top = first_row + self._draw(rows - side + 1, generator)
                    left = first_column + self._draw(columns - side + 1, generator)
                    window = (index, slice(None), slice(top, top + side), slice(left, left + side))
                    tried[window] = images[window] + self.epsilon * shades[index]
                tried = self.ball.project(tried, images, region)
            reached = evaluate(loss, tried)
            better = reached > value
            best = torch.where(better[:, None, None, None], tried, best)
            value = torch.where(better, reached, value)
        return best

    def _side(self, query: int, height: int, width: int) -> int:
        """Of the squares at a query."""
        halved = sum(query > share * self.queries for share in HALVINGS)
        side = round((self.area / 2**halved * height * width) ** 0.5)
        return min(max(side, 1), height, width)

    @staticmethod
    def _signs(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return torch.randint(0, 2, shape, generator=generator) * 2 - 1

    @staticmethod
    def _draw(count: int, generator: torch.Generator | None) -> int:
        return int(torch.randint(0, count, (), generator=generator))
