"""Scaled initialisation of scores: HYDRA's own (Sehwag et al. 2020, arXiv 2002.10509, equation 3)."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hydra_det.modules.masked_conv import masked_layers
from hydra_det.types import Batch

# An initialiser looks at a masked network, and at training batches if it wants to, and gives scores by layer name.
Batches = Callable[[], Iterable[Batch]]


def score_bound(layer: nn.Conv2d) -> float:
    """sqrt(6 / fan_in): the largest |score| of a layer after the scaled initialisation."""
    return math.sqrt(6 / layer.weight[0].numel())


def scale_to_bound(values: Tensor, layer: nn.Conv2d) -> Tensor:
    """`values` times the factor that makes the largest absolute value `score_bound(layer)`; all zeros stay zeros."""
    largest = values.abs().max()
    return values * (score_bound(layer) / largest) if largest > 0 else torch.zeros_like(values)


class Scaled:
    """score = sqrt(6 / fan_in) * weight / max|weight|; the first mask of a layer is that of its largest weights."""

    def __call__(self, network: nn.Module, _batches: Batches) -> dict[str, Tensor]:
        """Scores of every masked layer, by name, in the shape of its weight."""
        return {name: scale_to_bound(layer.weight.detach(), layer) for name, layer in masked_layers(network)}
