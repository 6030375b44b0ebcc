"""Convolutions: a tile of pixels for a block of outputs is one job."""

from typing import Any

import numpy as np

import hydra_det.engines.sparse.compiled.steps as at
from hydra_det.engines.sparse.compiled.jit import compiled, lanes
from hydra_det.engines.sparse.compiled.tile import make_tile

WIDTH = lanes() or 8
LARGEST = 16  # vectors that a job has accumulators for

_weights, _kernels = make_tile(LARGEST, WIDTH), make_tile(LARGEST, WIDTH, kernels=True)


@compiled
def convolve(memory: Any, tables: Any, number: int, job: int) -> None:
    """Do a job of a step."""
    step = tables.steps[number]
    outputs, size, block = step[at.OUTPUTS], step[at.TILE], step[at.BLOCK]
    blocks = (outputs + block - 1) // block
    pixels = step[at.TARGET_HEIGHT] * step[at.TARGET_ROW]
    vectors = (pixels + WIDTH - 1) // WIDTH
    begin = job // blocks * size
    place, many = begin * WIDTH, min(size, vectors - begin)
    low = job % blocks * block
    high = min(outputs, low + block)
    source, row = step[at.SOURCE] + place, step[at.SOURCE_ROW]
    for chunk in range(step[at.CHUNKS]):
        last = chunk == step[at.CHUNKS] - 1
        slope = tables.slopes[number] if last else np.float32(1)
        slot = step[at.FIRST] + (job % blocks * step[at.CHUNKS] + chunk) * block
        for output in range(low, high):
            start, stop = tables.first[slot], tables.first[slot + 1]
            slot += 1
            if start == stop and chunk > 0 and not last:
                continue
            bias = tables.biases[step[at.BIAS] + output]
            target = step[at.TARGET] + output * step[at.TARGET_CHANNEL] + place
            added = -1
            if last and step[at.ADDED] >= 0:
                added = step[at.ADDED] + output * step[at.TARGET_CHANNEL] + place
            if step[at.KERNELS]:
                _kernels(memory, source, tables.kernel_offsets, tables.kernel_weights, start, stop, row, chunk == 0,
                         bias, slope, added, target, many)  # fmt: skip
            else:
                _weights(memory, source, tables.offsets, tables.weights, start, stop, row, chunk == 0, bias, slope,
                         added, target, many)  # fmt: skip
            if last:
                _clear(memory, step, target, place, many * WIDTH, pixels)


@compiled
def _clear(memory: Any, step: Any, target: int, place: int, floats: int, pixels: int) -> None:
    """Make the zero columns zero again, and what lies behind the last pixel."""
    row = step[at.TARGET_ROW]
    for column in range(row - step[at.BORDER], row):
        index = (column - place) % row
        while index < floats:
            memory[target + index] = 0
            index += row
    for index in range(max(0, pixels - place), floats):
        memory[target + index] = 0
