"""What a layer costs in milliseconds on this machine, by the filters and input channels that it keeps."""

import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hydra_det.compaction.channels import map_sizes
from hydra_det.prune.layout import Layout
from hydra_det.prune.units import Price

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of filters and of inputs; between them time is interpolated
REPEATS, WARMUP = 5, 1


def measured_price(network: nn.Module, layout: Layout, *, image_size: int) -> Price:
    """Time every layer of a network with fewer filters and input channels, one image, on the device that it is on.

    Layers of the same shape that see maps of the same size are measured once.

    Args:
        network: that the layout belongs to.
        layout: of its masked layers.
        image_size: side of the input, pixels.

    Returns:
        Layer, filters, input channels -> ms, rising in both.
    """
    sizes = map_sizes(network, image_size)
    tables: dict[tuple[object, ...], np.ndarray] = {}
    keys = {}
    for name in layout.layers:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        keys[name] = key = (layer.weight.shape, layer.stride, layer.padding, sizes[name])
        if key not in tables:
            tables[key] = _table(layer, sizes[name][0])

    def price(name: str, filters: float, inputs: float) -> float:
        shape = layout.layers[name].shape
        at = [np.interp(inputs / shape[1], (0, *SHARES), (0, *row)) for row in tables[keys[name]]]
        return float(np.interp(filters / shape[0], (0, *SHARES), (0, *at)))

    return price


def _table(layer: nn.Conv2d, size: tuple[int, int]) -> np.ndarray:
    """Median ms for every share of filters and of inputs, made to rise. -> [filters, inputs]"""
    weight = layer.weight
    table = np.zeros((len(SHARES), len(SHARES)))
    for row, filters in enumerate(SHARES):
        for column, inputs in enumerate(SHARES):
            kept = weight[: max(1, round(filters * len(weight))), : max(1, round(inputs * weight.shape[1]))]
            table[row, column] = _milliseconds(layer, kept.detach().contiguous(), size)
    # Noise must not make a smaller layer dearer: a budget is met by making layers smaller.
    return np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)


@torch.no_grad()
def _milliseconds(layer: nn.Conv2d, weight: torch.Tensor, size: tuple[int, int]) -> float:
    images = torch.rand(1, weight.shape[1], *size, device=weight.device)
    times = []
    for _ in range(WARMUP + REPEATS):
        start = _now(weight.device)
        F.conv2d(images, weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
        times.append(_now(weight.device) - start)
    return statistics.median(times[WARMUP:]) * 1000


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
