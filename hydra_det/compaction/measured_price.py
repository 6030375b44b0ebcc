"""What a layer costs in milliseconds on this machine, by the filters and input channels that it keeps."""

import time
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hydra_det.compaction.sizes import map_sizes
from hydra_det.pruning.layout import Layout
from hydra_det.pruning.units import Price

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of filters and of inputs; between them time is interpolated
REPEATS, WARMUP = 9, 2


Table = list[list[float]]  # ms by share of filters and of inputs, as in `SHARES`


def measure(network: nn.Module, layout: Layout, *, image_size: int) -> dict[str, Table]:
    """Time every layer with fewer filters and input channels, one image, on the device that the network is on.

    Layers of the same shape that see maps of the same size are measured once.

    Args:
        network: that the layout belongs to.
        layout: of its masked layers.
        image_size: side of the input, pixels.
    """
    sizes = map_sizes(network, image_size)
    known: dict[tuple[object, ...], Table] = {}
    tables = {}
    for name in layout.layers:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        key = (layer.weight.shape, layer.groups, layer.stride, layer.padding, sizes[name])
        if key not in known:
            known[key] = _table(layer, sizes[name][0])
        tables[name] = known[key]
    return tables


def price_of(tables: Mapping[str, Table], layout: Layout) -> Price:
    """What was measured, interpolated: layer, filters, input channels -> ms, rising in both."""

    def price(name: str, filters: float, inputs: float) -> float:
        shape = layout.layers[name].shape
        at = [np.interp(inputs / shape[1], (0, *SHARES), (0, *row)) for row in tables[name]]
        return float(np.interp(filters / shape[0], (0, *SHARES), (0, *at)))

    return price


def _table(layer: nn.Conv2d, size: tuple[int, int]) -> Table:
    """Least ms for every share of filters and of inputs, made to rise."""
    weight = layer.weight
    table = np.zeros((len(SHARES), len(SHARES)))
    for row, filters in enumerate(SHARES):
        for column, inputs in enumerate(SHARES):
            if layer.groups == 1:
                kept = weight[: max(1, round(filters * len(weight))), : max(1, round(inputs * weight.shape[1]))]
            else:  # groups go as a whole, and leave what a filter reads as it is
                kept = weight[: max(1, round(filters * layer.groups)) * (len(weight) // layer.groups)]
            table[row, column] = _milliseconds(layer, kept.detach().contiguous(), size)
    # Noise must not make a smaller layer dearer: a budget is met by making layers smaller.
    return np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1).tolist()


@torch.no_grad()
def _milliseconds(layer: nn.Conv2d, weight: torch.Tensor, size: tuple[int, int]) -> float:
    groups = max(1, len(weight) * layer.groups // layer.out_channels)
    images = torch.rand(1, weight.shape[1] * groups, *size, device=weight.device).to(weight.dtype)
    times = []
    for _ in range(WARMUP + REPEATS):
        start = _now(weight.device)
        F.conv2d(images, weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation, groups=groups)
        times.append(_now(weight.device) - start)
    return min(times[WARMUP:]) * 1000  # the least disturbed


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
