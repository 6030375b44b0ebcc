"""Everything but convolutions: one channel of a map is one job."""

import math
from typing import Any

import numpy as np

import hydra_det.engines.sparse.compiled.steps as at
from hydra_det.engines.sparse.compiled.jit import compiled, lanes
from hydra_det.engines.sparse.compiled.tile import make_parting

WIDTH = lanes() or 8

_part = make_parting(WIDTH)


@compiled
def one_channel(memory: Any, step: Any, slope: float, channel: int) -> None:
    """Do what a step says for one channel."""
    if step[at.OPERATION] == at.UPSAMPLE:
        _upsample(memory, step, channel)
    elif step[at.OPERATION] == at.POOL:
        _pool(memory, step, channel)
    elif step[at.OPERATION] == at.PHASES:
        _phases(memory, step, channel)
    elif step[at.OPERATION] == at.ACTIVATE:
        _activate(memory, step, slope, channel)
    elif step[at.OPERATION] == at.COPY:
        _copy(memory, step, channel)
    else:
        _add(memory, step, channel)


@compiled
def _upsample(memory: Any, step: Any, channel: int) -> None:
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    target = step[at.TARGET] + channel * step[at.TARGET_CHANNEL]
    factor = step[at.ONE]
    for y in range(step[at.TARGET_HEIGHT]):
        above, here = source + y // factor * step[at.SOURCE_ROW], target + y * step[at.TARGET_ROW]
        for x in range(step[at.TARGET_ROW] - step[at.BORDER]):
            memory[here + x] = memory[above + x // factor]


@compiled
def _larger(one: float, other: float) -> float:
    """What is not a number is larger than all others."""
    return other if other > one or other != other else one  # noqa: PLR0124


@compiled
def _pool(memory: Any, step: Any, channel: int) -> None:
    """Of every column over some rows, then of these over some columns; pairs of columns in vectors."""
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    target = step[at.TARGET] + channel * step[at.TARGET_CHANNEL]
    height, width = step[at.SOURCE_HEIGHT], step[at.SOURCE_ROW] - step[at.BORDER]
    side, stride, padding = step[at.ONE], step[at.TWO], step[at.THREE]
    pixels = step[at.TARGET_ROW] - step[at.BORDER]
    even = (width + 2 * WIDTH) // (2 * WIDTH) * 2 * WIDTH  # behind the columns, their halves
    odd = 2 * even
    columns = np.zeros(3 * even, dtype=np.float32)
    for y in range(step[at.TARGET_HEIGHT]):
        top, bottom = max(0, y * stride - padding), min(height, y * stride - padding + side)
        line = source + top * step[at.SOURCE_ROW]
        for x in range(width):
            columns[x] = memory[line + x]
        for _ in range(top + 1, bottom):
            line += step[at.SOURCE_ROW]
            for x in range(width):
                columns[x] = _larger(columns[x], memory[line + x])
        here = target + y * step[at.TARGET_ROW]
        if side == stride == 2 and padding == 0:
            for x in range(0, pixels, WIDTH):
                _part(columns, 2 * x, even + x, odd + x)
            for x in range(pixels):
                memory[here + x] = _larger(columns[even + x], columns[odd + x])
            continue
        for x in range(pixels):
            left, right = max(0, x * stride - padding), min(width, x * stride - padding + side)
            best = columns[left]
            for column in range(left + 1, right):
                best = _larger(best, columns[column])
            memory[here + x] = best


@compiled
def _phases(memory: Any, step: Any, channel: int) -> None:
    """Even and odd rows and columns apart: four maps for a convolution of stride 2, one after another.

    Vectors reach beyond the end of a row: what they spoil there is written anew by the next row. A row below the last
    one is read as zeros, which lie between channels.
    """
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    row, height = step[at.TARGET_ROW], step[at.TARGET_HEIGHT]
    columns = row - step[at.BORDER]
    for down in range(2):
        even = step[at.TARGET] + (2 * down * step[at.OUTPUTS] + channel) * step[at.TARGET_CHANNEL]
        odd = even + step[at.OUTPUTS] * step[at.TARGET_CHANNEL]
        for y in range(height):
            line = source + (2 * y + down) * step[at.SOURCE_ROW]
            for x in range(0, columns, WIDTH):
                _part(memory, line + 2 * x, even + y * row + x, odd + y * row + x)
            spoilt = columns + (WIDTH if y == height - 1 else step[at.BORDER])
            for x in range(columns, spoilt):
                memory[even + y * row + x] = 0
                memory[odd + y * row + x] = 0


@compiled
def _activate(memory: Any, step: Any, slope: float, channel: int) -> None:
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    target = step[at.TARGET] + channel * step[at.TARGET_CHANNEL]
    which = step[at.ONE]
    for y in range(step[at.TARGET_HEIGHT]):
        for place in range(y * step[at.TARGET_ROW], (y + 1) * step[at.TARGET_ROW] - step[at.BORDER]):
            value = memory[source + place]
            if which == at.LEAKY:
                value = max(value, slope * value)
            elif which == at.MISH:
                value *= math.tanh(math.log1p(math.exp(min(value, np.float32(30)))))
            else:
                sigmoid = 1 / (1 + math.exp(-value))
                value = value * sigmoid if which == at.SWISH else sigmoid
            memory[target + place] = value


@compiled
def _copy(memory: Any, step: Any, channel: int) -> None:
    """A map into another one, `one` columns to the right and `two` rows down; what is around it is left as it is."""
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    target = step[at.TARGET] + channel * step[at.TARGET_CHANNEL]
    for y in range(step[at.SOURCE_HEIGHT]):
        for x in range(step[at.SOURCE_ROW] - step[at.BORDER]):
            memory[target + (y + step[at.TWO]) * step[at.TARGET_ROW] + x + step[at.ONE]] = memory[
                source + y * step[at.SOURCE_ROW] + x
            ]


@compiled
def _add(memory: Any, step: Any, channel: int) -> None:
    place = channel * step[at.TARGET_CHANNEL]
    for index in range(place, place + step[at.TARGET_HEIGHT] * step[at.TARGET_ROW]):
        memory[step[at.TARGET] + index] = memory[step[at.SOURCE] + index] + memory[step[at.ADDED] + index]
