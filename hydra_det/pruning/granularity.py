"""What is kept or removed as one within a layer: a weight, a kernel, a filter, or N weights of every M.

A granularity cuts a layer into units of equally many weights. Channels, which several layers share, are in
`units.py`, as no layer decides on them alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Granularity:
    """Cuts the weights of one layer into units.

    Attributes:
        each_layer: whether every layer can give up any share of itself, so that the same share of all is the ratio.
    """

    each_layer = True

    def fits(self, shape: tuple[int, ...], *, ends: bool) -> bool:
        """Whether a layer can be cut; `ends` if it writes a raw map."""
        return True

    def gather(self, values: Tensor) -> Tensor:
        """Sort the values of the weights by unit. [O, I, kH, kW] -> [units, weights of a unit]"""
        raise NotImplementedError

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse for a value per unit. [units], (O, I, kH, kW) -> [O, I, kH, kW]"""
        raise NotImplementedError

    def unit_scores(self, scores: Tensor) -> Tensor:
        """Mean |score| of every unit. [O, I, kH, kW] -> [units]"""
        return self.gather(scores.abs()).mean(dim=1)


class Weights(Granularity):
    """Single weights, the unstructured mask of the paper."""

    def gather(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.reshape(shape)


class Kernels(Granularity):
    """Whole kernels `weight[o, i]`, the structured mask of the paper.

    The kernel of a 1x1 convolution is one weight: 37 of YOLOv3's 75 convolutions are pruned weight by weight here.
    """

    def gather(self, values: Tensor) -> Tensor:
        return values.flatten(2).flatten(0, 1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.reshape(shape[0], shape[1], 1, 1).expand(shape)


class Filters(Granularity):
    """Whole filters `weight[o]`, each for itself: what a residual sum ties to others stays there with zeros."""

    each_layer = False

    def fits(self, shape: tuple[int, ...], *, ends: bool) -> bool:
        return not ends

    def gather(self, values: Tensor) -> Tensor:
        return values.flatten(1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.reshape(-1, 1, 1, 1).expand(shape)


class Blocks(Granularity):
    """Single weights with at most N in every block of M neighbours along the input channels (2:4, arXiv 2104.08378).

    A unit's score is not its size but its rank in its block, so that a top-k of the layer takes the best of every
    block before it takes the second best of any.

    Args:
        size: M.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size

    def fits(self, shape: tuple[int, ...], *, ends: bool) -> bool:
        return shape[1] % self.size == 0

    def gather(self, values: Tensor) -> Tensor:
        return values.permute(0, 2, 3, 1).reshape(-1, 1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        outputs, inputs, height, width = shape
        return units.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)

    def unit_scores(self, scores: Tensor) -> Tensor:
        """M - 1 for the largest |score| of a block down to 0 for the smallest. [O, I, kH, kW] -> [units]"""
        blocks = self.gather(scores.abs()).view(-1, self.size)
        if not blocks.isfinite().all():
            return blocks.flatten()  # for the top-k to refuse: a rank would hide it
        order = blocks.argsort(dim=1, descending=True, stable=True)
        ranks = torch.empty_like(blocks)
        falling = torch.arange(self.size - 1, -1, -1, dtype=blocks.dtype, device=blocks.device)
        return ranks.scatter_(1, order, falling.expand_as(blocks)).flatten()


GRANULARITIES: dict[str, Callable[[], Granularity]] = {
    "weight": Weights,
    "kernel": Kernels,
    "filter": Filters,
    "nm": Blocks,
}
