"""Counting what a mask keeps, per layer and in total."""

from collections.abc import Mapping
from typing import TypedDict

from torch import Tensor


class LayerCount(TypedDict):
    """Weights of one masked layer."""

    name: str
    shape: list[int]
    kept: int
    pruned: int


class SparsityCount(TypedDict):
    """Weights of all masked layers of a network; biases and BatchNorm are left out."""

    total: int
    kept: int
    pruned: int
    layers: list[LayerCount]


def count_sparsity(masks: Mapping[str, Tensor]) -> SparsityCount:
    """Count kept and pruned weights.

    Args:
        masks: layer name -> boolean mask [O, I, kH, kW].
    """
    layers = []
    for name, mask in masks.items():
        kept = int(mask.sum())
        layers.append(LayerCount(name=name, shape=list(mask.shape), kept=kept, pruned=mask.numel() - kept))
    kept, pruned = (sum(layer[key] for layer in layers) for key in ("kept", "pruned"))
    return SparsityCount(total=kept + pruned, kept=kept, pruned=pruned, layers=layers)
