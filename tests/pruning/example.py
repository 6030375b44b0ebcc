"""A single layer, and masks of it as a whole network would make them."""

import torch

from hydra_det.pruning.layout import Layer, Layout
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings


def lone_layer(shape: tuple[int, ...]) -> Layout:
    """A layout of one layer whose filters and input channels nobody else knows."""
    outputs, inputs = shape[:2]
    reads, writes = torch.arange(inputs), inputs + torch.arange(outputs)
    free = torch.zeros(inputs + outputs, dtype=torch.bool)
    return Layout({"layer": Layer(shape, writes, reads, 1)}, free, free.clone())


def mask_of(scores: torch.Tensor, *, ratio: float, granularity: str = "weight", min_keep: int = 1) -> torch.Tensor:
    """The final mask of a layer for itself."""
    settings = PruneSettings(ratio=ratio, granularity=granularity, min_keep=min_keep)
    return mask_plan(settings, lone_layer(tuple(scores.shape))).masks({"layer": scores}, final=True)["layer"]
