"""Everything but convolutions: one channel of a map is one job."""

import math
from typing import Any

import numpy as np

import hydra_det.engines.sparse.steps as at
from hydra_det.engines.sparse.compiling import compiled


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
def _pool(memory: Any, step: Any, channel: int) -> None:
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    target = step[at.TARGET] + channel * step[at.TARGET_CHANNEL]
    height, width = step[at.SOURCE_HEIGHT], step[at.SOURCE_ROW] - step[at.BORDER]
    side, stride, padding = step[at.ONE], step[at.TWO], step[at.THREE]
    for y in range(step[at.TARGET_HEIGHT]):
        top, bottom = max(0, y * stride - padding), min(height, y * stride - padding + side)
        for x in range(step[at.TARGET_ROW] - step[at.BORDER]):
            left, right = max(0, x * stride - padding), min(width, x * stride - padding + side)
            best = np.float32(-math.inf)
            for row in range(top, bottom):
                for column in range(left, right):
                    value = memory[source + row * step[at.SOURCE_ROW] + column]
                    if value > best or value != value:  # noqa: PLR0124 - not a number
                        best = value
            memory[target + y * step[at.TARGET_ROW] + x] = best


@compiled
def _phases(memory: Any, step: Any, channel: int) -> None:
    """Even and odd rows and columns apart: four maps for a convolution of stride 2, one after another."""
    source = step[at.SOURCE] + channel * step[at.SOURCE_CHANNEL]
    height, width = step[at.SOURCE_HEIGHT], step[at.SOURCE_ROW] - step[at.BORDER]
    for phase in range(4):
        target = step[at.TARGET] + (phase * step[at.OUTPUTS] + channel) * step[at.TARGET_CHANNEL]
        for y in range(step[at.TARGET_HEIGHT]):
            row, here = 2 * y + phase // 2, target + y * step[at.TARGET_ROW]
            for x in range(step[at.TARGET_ROW] - step[at.BORDER]):
                column = 2 * x + phase % 2
                inside = row < height and column < width
                memory[here + x] = memory[source + row * step[at.SOURCE_ROW] + column] if inside else np.float32(0)


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
