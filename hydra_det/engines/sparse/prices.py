"""What a layer costs in milliseconds in this engine, on this machine, by the share of its units that is kept."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hydra_det.engines.sparse.fusing import Convolution, Operation, ungrouped
from hydra_det.engines.sparse.layout import Layout
from hydra_det.engines.sparse.planning import BY_TORCH, Planner, first_way
from hydra_det.engines.sparse.running import seconds
from hydra_det.engines.sparse.tuning import MUCH
from hydra_det.modules.graph import IMAGES

SHARES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)  # between them time is interpolated


def measure(
    layers: Mapping[str, nn.Conv2d], sizes: Mapping[str, tuple[int, int]], *, kernels: bool, threads: int
) -> dict[str, list[float]]:
    """Time every layer with some of its units, one image; those of a shape that see maps of a size once.

    Args:
        layers: by name; their weights play no part.
        sizes: (height, width) of the maps that they see.
        kernels: units are whole kernels; else single weights.
        threads: of the CPU.

    Returns:
        By layer the milliseconds with each of `SHARES`, made to rise.
    """
    known: dict[tuple[object, ...], list[float]] = {}
    answer = {}
    for name, layer in layers.items():
        key = (layer.weight.shape, layer.groups, layer.stride, layer.padding, layer.dilation, sizes[name])
        if key not in known:
            found = [_milliseconds(layer, sizes[name], share, kernels, threads) for share in SHARES]
            # Noise must not make more zeros dearer: a budget is met by more of them.
            known[key] = np.maximum.accumulate(found).tolist()
        answer[name] = known[key]
    return answer


def milliseconds(table: list[float], share: float) -> float:
    """Interpolated; below the least share what remains is what a layer without any unit would cost."""
    slope = (table[1] - table[0]) / (SHARES[1] - SHARES[0])
    nothing = max(0.0, table[0] - slope * SHARES[0])
    return float(np.interp(share, (0.0, *SHARES), (nothing, *table)))


def _milliseconds(layer: nn.Conv2d, size: tuple[int, int], share: float, kernels: bool, threads: int) -> float:
    """Of the layer alone, with random units, in this engine or in torch."""
    generator = torch.Generator().manual_seed(0)
    shape = layer.weight.shape[:2] if kernels else layer.weight.shape
    kept = (torch.rand(shape, generator=generator) < share)[(...,) + (None,) * (4 - len(shape))]
    weights: NDArray[np.float32] = ungrouped(kept.float().expand_as(layer.weight), layer.groups).float().numpy()
    bias = np.zeros(len(weights), dtype=np.float32)
    stride, padding, dilation = _twos(layer)
    made = Convolution(weights, bias, stride, padding, dilation, slope=0.1)
    alone = Operation("layer", "conv", (IMAGES,), {}, made)
    ways = [BY_TORCH]
    if made.ours:
        ways = [first_way(made, Layout(*made.map_size(*size)))] + ([BY_TORCH] if share > MUCH else [])
    programs = [Planner([alone], size, {"layer": way}, channels=weights.shape[1]).program(["layer"]) for way in ways]
    return min(seconds(program, threads=threads) for program in programs) * 1000


def _twos(layer: nn.Conv2d) -> list[tuple[int, int]]:
    """Stride, padding and dilation."""
    assert not isinstance(layer.padding, str)
    return [(first, second) for first, second in (layer.stride, layer.padding, layer.dilation)]
