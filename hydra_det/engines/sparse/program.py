"""A program: steps with their maps, the memory that these share, and the arrays that the threads read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hydra_det.engines.sparse.compiled.steps import Step, Tables
from hydra_det.engines.sparse.fusing import Convolution
from hydra_det.engines.sparse.layout import Layout
from hydra_det.engines.sparse.nonzeros import Nonzeros


class Buffer:
    """Memory for maps of one layout; where it lies is decided when it is known how long it is needed."""

    def __init__(self, layout: Layout, channels: int, *, filled: float | None = None) -> None:
        self.layout = layout
        self.channels = channels
        self.filled = filled  # with what, before anything is computed; such memory is never used again
        self.begin = 0


class Map(NamedTuple):
    """Channels of a buffer."""

    buffer: Buffer
    channel: int
    channels: int

    @property
    def layout(self) -> Layout:
        """Of its channels."""
        return self.buffer.layout

    @property
    def base(self) -> int:
        """Where its first pixel lies."""
        return self.buffer.begin + self.layout.margin + self.channel * self.layout.channel


class Planned(NamedTuple):
    """A step before maps have places.

    Attributes:
        operation: one of `steps`.
        jobs: how many.
        source: what is read.
        target: what is written.
        added: what is read besides.
        rest: further fields of `Step`.
        slope: of a convolution.
        nonzeros: of a convolution.
        bias: of a convolution.
        dense: a convolution that torch computes.
    """

    operation: int
    jobs: int
    source: Map
    target: Map
    added: Map | None = None
    rest: Mapping[str, int] = {}
    slope: float = 1.0
    nonzeros: Nonzeros | None = None
    bias: NDArray[np.float32] | None = None
    dense: Convolution | None = None


class Dense(NamedTuple):
    """A step that torch does.

    Attributes:
        step: which.
        convolution: what is computed.
        source: what is read.
        target: what is written.
        added: what is added.
    """

    step: int
    convolution: Convolution
    source: Map
    target: Map
    added: Map | None


class Program(NamedTuple):
    """What the threads work on.

    Attributes:
        tables: the steps and what they refer to.
        floats: of memory.
        filled: maps whose pixels begin with something else than zeros.
        dense: the steps that torch does.
        images: where the input is put.
        outputs: where the raw maps are found, by the names of their values.
    """

    tables: Tables
    floats: int
    filled: list[Map]
    dense: list[Dense]
    images: Map
    outputs: dict[str, Map]


def make_program(steps: Sequence[Planned], images: Map, outputs: Mapping[str, Map]) -> Program:
    """Give every map its memory.

    Args:
        steps: in their order.
        images: where the input is put.
        outputs: where raw maps are found, by name.
    """
    floats = _allocate(steps, images, list(outputs.values()))
    targets = {id(step.target.buffer): step.target for step in steps if step.target.buffer.filled is not None}
    dense = [
        Dense(number, step.dense, step.source, step.target, step.added)
        for number, step in enumerate(steps)
        if step.dense is not None
    ]
    return Program(make_tables(steps), floats, list(targets.values()), dense, images, dict(outputs))


def _allocate(steps: Sequence[Planned], images: Map, outputs: Sequence[Map]) -> int:
    """Give every buffer its memory, which others of its layout take over when nobody needs it; returns the floats."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for number, part in [
        (0, images),
        *((number, part) for number, step in enumerate(steps) for part in _parts(step)),
        *((len(steps), part) for part in outputs),
    ]:
        key = id(part.buffer)
        buffers[key] = part.buffer
        first[key], last[key] = min(first.get(key, number), number), max(last.get(key, 0), number)
    free: dict[Layout, list[tuple[int, int]]] = {}  # channels and begin
    sizes: dict[int, int] = {}
    total = 0
    for number in range(len(steps) + 1):
        for key, buffer in buffers.items():
            if first[key] != number:
                continue
            fitting = sorted(entry for entry in free.get(buffer.layout, []) if entry[0] >= buffer.channels)
            if fitting and buffer.filled is None:
                sizes[key], buffer.begin = fitting[0]
                free[buffer.layout].remove(fitting[0])
            else:
                sizes[key], buffer.begin = buffer.channels, total
                total += buffer.layout.floats(buffer.channels)
        for key, buffer in buffers.items():
            if last[key] == number and buffer.filled is None:
                free.setdefault(buffer.layout, []).append((sizes[key], buffer.begin))
    return total


def _parts(step: Planned) -> list[Map]:
    return [part for part in (step.source, step.target, step.added) if part is not None]


def make_tables(steps: Sequence[Planned]) -> Tables:
    """Of steps whose maps have their memory."""
    rows: list[Step] = []
    biases: list[NDArray[Any]] = []
    first: list[NDArray[Any]] = []
    offsets: dict[bool, list[NDArray[Any]]] = {False: [], True: []}  # of single weights, of kernels
    weights: dict[bool, list[NDArray[Any]]] = {False: [], True: []}
    for step in steps:
        rest = dict(step.rest)
        if step.nonzeros is not None and step.bias is not None:
            found = step.nonzeros
            kernels = found.weights.ndim == 2
            rest |= {"block": found.blocking.outputs, "chunks": found.chunks, "first": _length(first)}
            rest |= {"bias": _length(biases)}
            first.append(found.first + _length(offsets[kernels]))
            offsets[kernels].append(found.offsets)
            weights[kernels].append(found.weights.ravel())
            biases.append(step.bias)
        rows.append(_row(step, rest))
    return Tables(
        steps=np.array(rows, dtype=np.int64).reshape(-1, len(Step._fields)),
        slopes=np.array([step.slope for step in steps], dtype=np.float32),
        first=_joined(first, np.int64),
        offsets=_joined(offsets[False], np.int32),
        weights=_joined(weights[False], np.float32),
        kernel_offsets=_joined(offsets[True], np.int32),
        kernel_weights=_joined(weights[True], np.float32),
        biases=_joined(biases, np.float32),
    )


def _row(step: Planned, rest: Mapping[str, int]) -> Step:
    return Step(
        operation=step.operation,
        jobs=step.jobs,
        source=step.source.base,
        source_row=step.source.layout.row,
        source_channel=step.source.layout.channel,
        source_height=step.source.layout.height,
        target=step.target.base,
        target_row=step.target.layout.row,
        target_channel=step.target.layout.channel,
        target_height=step.target.layout.height,
        border=step.target.layout.border,
        added=-1 if step.added is None else step.added.base,
        **rest,
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([*parts, np.zeros(0)]).astype(dtype)


def _length(parts: Sequence[NDArray[Any]]) -> int:
    return sum(len(part) for part in parts)
