"""How maps lie in memory, so that a convolution is a sum of shifted copies of a flat array.

A channel is one flat array of rows, each with zero columns at its end: the left neighbour of the first pixel of a row
is such a column of the row before, the right neighbour of the last pixel one of its own row. Between channels lie
enough zeros for the rows above the first and below the last one. So there are no borders and no special cases: a
weight at (row, column) of a kernel is an offset, the same for all pixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LINE = 16  # floats of a cache line, and of the widest vector
PAGE = 1024  # floats of 4 KiB: channels that far apart would fall into the same lines of the cache


class Layout(NamedTuple):
    """Of the channels of a map.

    Attributes:
        height: H.
        width: W.
        border: zero columns at the end of a row: half of the side of the largest kernel, rounded down.
    """

    height: int
    width: int
    border: int = 1

    @property
    def row(self) -> int:
        """Floats from a row to the next one."""
        return self.width + self.border

    @property
    def pixels(self) -> int:
        """Floats of a channel that are written, zero columns included."""
        return self.height * self.row

    @property
    def margin(self) -> int:
        """Zeros that are read before the first pixel."""
        return _lines(self.border * (self.row + 1))

    @property
    def channel(self) -> int:
        """Floats from a channel to the next one: pixels up to a whole vector, then zeros."""
        floats = _lines(_lines(self.pixels) + self.border * (self.row + 1))
        return floats + LINE if floats % PAGE == 0 else floats

    def floats(self, channels: int) -> int:
        """Of so many channels, the zeros before the first one included."""
        return self.margin + channels * self.channel


def put(memory: Floats, base: int, layout: Layout, maps: Floats) -> None:
    """Write maps [C, H, W] as channels from `base` on; zero columns and gaps are left as they are."""
    channels_at(memory, base, layout, len(maps))[:] = maps


def channels_at(memory: Floats, base: int, layout: Layout, channels: int) -> Floats:
    """A view of channels from `base` on. [C, H, W]"""
    item = memory.itemsize
    strides = (layout.channel * item, layout.row * item, item)
    return np.lib.stride_tricks.as_strided(
        memory[base:], (channels, layout.height, layout.width), strides, writeable=True
    )


def _lines(floats: int) -> int:
    """Rounded up to whole cache lines."""
    return -(-floats // LINE) * LINE
