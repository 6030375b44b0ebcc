"""Counting what a mask keeps, per layer and in total."""

from collections.abc import Mapping
from typing import TypedDict

from torch import Tensor

from hydra_det.prune.granularity import GRANULARITIES
from hydra_det.prune.masks import kept_units


class LayerCount(TypedDict):
    """Counts of one masked layer."""

    name: str
    shape: list[int]
    units: int  # what the granularity keeps or removes as one
    units_kept: int
    total: int  # weights
    kept: int
    pruned: int


class SparsityCount(TypedDict):
    """Counts of a network: weights of its masked layers, biases and BatchNorm left out."""

    total: int
    kept: int
    pruned: int
    layers: list[LayerCount]


def count_sparsity(masks: Mapping[str, Tensor], *, granularity: str) -> SparsityCount:
    """Count kept and pruned weights and units.

    Args:
        masks: layer name -> boolean mask [O, I, kH, kW].
        granularity: a key of `GRANULARITIES`.
    """
    layers = [_count_layer(name, mask, granularity) for name, mask in masks.items()]
    total = sum(layer["total"] for layer in layers)
    kept = sum(layer["kept"] for layer in layers)
    return SparsityCount(total=total, kept=kept, pruned=total - kept, layers=layers)


def check_sparsity(count: SparsityCount, ratio: float) -> None:
    """Refuse a mask that does not keep exactly the asked number of units in every layer, each of them whole."""
    for layer in count["layers"]:
        expected = kept_units(layer["units"], ratio)
        if layer["units_kept"] != expected:
            raise ValueError(
                f"layer {layer['name']}: expected {expected} of {layer['units']} units kept at ratio {ratio}, "
                f"found {layer['units_kept']}"
            )
        if layer["kept"] * layer["units"] != layer["units_kept"] * layer["total"]:
            raise ValueError(f"layer {layer['name']}: expected whole units, found some that are kept in part")


def _count_layer(name: str, mask: Tensor, granularity: str) -> LayerCount:
    kept = int(mask.sum())
    units = GRANULARITIES[granularity].unit_scores(mask.float())
    return LayerCount(
        name=name,
        shape=list(mask.shape),
        units=units.numel(),
        units_kept=int((units > 0).sum()),
        total=mask.numel(),
        kept=kept,
        pruned=mask.numel() - kept,
    )
