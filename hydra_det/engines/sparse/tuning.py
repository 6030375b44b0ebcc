"""How every convolution is computed fastest on this machine: timed once, when the engine sees a size of images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hydra_det.engines.sparse.compiled.convolving import WIDTH
from hydra_det.engines.sparse.fusing import Convolution, Operation, shapes_of
from hydra_det.engines.sparse.layout import Layout
from hydra_det.engines.sparse.nonzeros import Blocking, in_kernels
from hydra_det.engines.sparse.planning import BY_TORCH, Planner, Way, even_tile, first_way, flat
from hydra_det.engines.sparse.program import Program
from hydra_det.modules.graph import IMAGES

LARGEST_TILES = (16, 12, 8)  # vectors of a tile, at most
MUCH = 0.3  # of the weights: from here on torch is asked, too


def best_ways(
    operations: Sequence[Operation], size: tuple[int, int], seconds: Callable[[Program], float]
) -> dict[str, Way]:
    """The fastest way of every convolution, by name.

    Args:
        operations: of the network.
        size: (height, width) of the images.
        seconds: that a program takes.
    """
    shapes = shapes_of(operations, size)
    known: dict[Any, Way] = {}
    answer = {}
    for operation in operations:
        made = operation.convolution
        if made is None or not made.ours:
            continue
        shape = shapes[operation.inputs[0]]
        share = np.count_nonzero(made.weights) / made.weights.size
        key = (made.weights.shape, made.stride, made.curved, shape, round(share, 2), in_kernels(flat(made)))
        if key not in known:
            target = Layout(*shapes[operation.name][1:])
            known[key] = _best(made, target, share, partial(_time, operation, shape, seconds))
        answer[operation.name] = known[key]
    return answer


def _best(made: Convolution, layout: Layout, share: float, seconds: Callable[[Way], float]) -> Way:
    """The best tile of the first blocking, then the best blocking of that tile; then torch where it may win."""
    first = first_way(made, layout)
    vectors = -(-layout.pixels // WIDTH)
    times: dict[Way, float] = {}

    def best() -> Way:
        return min(times, key=lambda way: times[way])

    for largest in LARGEST_TILES:
        way = first._replace(tile=even_tile(vectors, largest))
        if way not in times:
            times[way] = seconds(way)
    inputs = made.weights.shape[1]
    for blocking in {Blocking(16, inputs), Blocking(64, 32)} - {first.blocking}:
        way = best()._replace(blocking=blocking)
        times[way] = seconds(way)
    if share > MUCH:
        times[BY_TORCH] = seconds(BY_TORCH)
    return best()


def _time(operation: Operation, shape: tuple[int, int, int], seconds: Callable[[Program], float], way: Way) -> float:
    """Of one convolution alone."""
    alone = operation._replace(inputs=(IMAGES,))
    ways: Mapping[str, Way] = {operation.name: way}
    program = Planner([alone], shape[1:], ways, channels=shape[0]).program([operation.name])
    return seconds(program)
