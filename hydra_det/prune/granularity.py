"""What is kept or removed as one: a single weight or a whole kernel.

A granularity turns scores into one score per unit, and a mask over units back into a mask over weights. New ones
(filters, groups of filters, N:M) are further entries of `GRANULARITIES`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Granularity(NamedTuple):
    """Two functions that are inverse in shape.

    Attributes:
        unit_scores: scores of one convolution [O, I, kH, kW] -> importance per unit, any shape, >= 0.
        expand: boolean mask over those units, shape of the weight -> boolean mask [O, I, kH, kW].
    """

    unit_scores: Callable[[Tensor], Tensor]
    expand: Callable[[Tensor, tuple[int, ...]], Tensor]


def weight_scores(scores: Tensor) -> Tensor:
    """|score| of every weight. [O, I, kH, kW] -> [O, I, kH, kW]"""
    return scores.abs()


def kernel_scores(scores: Tensor) -> Tensor:
    """Mean |score| of every kernel `weight[o, i]`, the structured mask of the paper. [O, I, kH, kW] -> [O, I]

    The kernel of a 1x1 convolution is one weight: 37 of YOLOv3's 75 convolutions are pruned weight by weight here.
    """
    return scores.abs().mean(dim=(2, 3))


def expand_weight(units: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[O, I, kH, kW] -> the same."""
    return units.reshape(shape)


def expand_kernel(units: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[O, I] -> [O, I, kH, kW]"""
    return units[:, :, None, None].expand(shape)


GRANULARITIES: dict[str, Granularity] = {
    "weight": Granularity(weight_scores, expand_weight),
    "kernel": Granularity(kernel_scores, expand_kernel),
}
