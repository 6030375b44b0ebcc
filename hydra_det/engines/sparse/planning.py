"""From operations to a program: every value gets a place, and every operation its steps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hydra_det.engines.sparse.compiled.convolving import LARGEST, WIDTH
from hydra_det.engines.sparse.compiled.steps import (
    ACTIVATE,
    ADD,
    CONVOLVE,
    COPY,
    DENSE,
    LEAKY,
    LOGISTIC,
    MISH,
    PHASES,
    POOL,
    SWISH,
    UPSAMPLE,
)
from hydra_det.engines.sparse.fusing import Convolution, Operation, one_of, shapes_of
from hydra_det.engines.sparse.layout import Layout
from hydra_det.engines.sparse.nonzeros import Blocking, find_nonzeros, in_kernels
from hydra_det.engines.sparse.program import Buffer, Map, Planned, Program, make_program
from hydra_det.modules.graph import IMAGES

CURVES = {"mish": MISH, "swish": SWISH, "logistic": LOGISTIC}
LITTLE = 0.03  # of the weights: below, inputs are not taken in chunks


class Way(NamedTuple):
    """How a convolution is computed.

    Attributes:
        tile: vectors of a tile, 1 to `LARGEST`; 0: by torch, with all zeros.
        blocking: how its weights are cut.
    """

    tile: int
    blocking: Blocking


BY_TORCH = Way(0, Blocking(1, 1))


class Planner:
    """Gives every value a place and every operation its steps.

    Args:
        operations: see `fusing`.
        size: (height, width) of the images.
        ways: of convolutions, by name; of others `first_way`.
        channels: of the images.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        size: tuple[int, int],
        ways: Mapping[str, Way] | None = None,
        *,
        channels: int = 3,
    ) -> None:
        self.ways = ways or {}
        self.shapes = shapes_of(operations, size, channels=channels)
        made = [operation.convolution for operation in operations if operation.convolution is not None]
        self.border = max([1, *(convolution.side // 2 for convolution in made if convolution.ours)])
        self.places = {IMAGES: Map(Buffer(self._layout(IMAGES), channels), 0, channels)}
        self.steps: list[Planned] = []
        self._shared = _parts_of_concats(operations, self.shapes)
        self._buffers: dict[str, Buffer] = {}  # of concatenations
        for operation in operations:
            getattr(self, f"_{operation.kind}")(operation)

    def program(self, outputs: Sequence[str]) -> Program:
        """With places in memory. `outputs` are names of values."""
        return make_program(self.steps, self.places[IMAGES], {name: self.places[name] for name in outputs})

    def _place(self, name: str, *, filled: float | None = None) -> Map:
        """Of a value that is about to be written: its part of a concatenation, or memory of its own."""
        channels, layout = self.shapes[name][0], self._layout(name)
        if name in self._shared:
            whole, first = self._shared[name]
            if whole not in self._buffers:
                self._buffers[whole] = Buffer(layout, self.shapes[whole][0])
            made = Map(self._buffers[whole], first, channels)
        else:
            made = Map(Buffer(layout, channels, filled=filled), 0, channels)
        self.places[name] = made
        return made

    def _layout(self, name: str) -> Layout:
        return Layout(*self.shapes[name][1:], self.border)

    def _conv(self, operation: Operation) -> None:
        made = operation.convolution
        assert made is not None
        source = self.places[operation.inputs[0]]
        target = self._place(operation.name)
        added = self.places[operation.inputs[1]] if len(operation.inputs) > 1 else None
        way = self.ways.get(operation.name) or first_way(made, target.layout)
        if not way.tile or not made.ours:
            self.steps.append(Planned(DENSE, 0, source, target, added, dense=made))
            return
        kernels = False
        if made.stride == (2, 2):
            phases = Map(Buffer(target.layout, 4 * source.channels), 0, 4 * source.channels)
            self.steps.append(Planned(PHASES, source.channels, source, phases, rest={"outputs": source.channels}))
            offsets = _offsets_of_phases(made, source.channels, target.layout)
            source = phases
        else:
            offsets = _offsets(made, source.channels, target.layout)
            kernels = in_kernels(flat(made))
        vectors = -(-target.layout.pixels // WIDTH)
        blocks = -(-len(made.weights) // way.blocking.outputs)
        nonzeros = find_nonzeros(flat(made), offsets, blocking=way.blocking, kernels=kernels)
        rest = {"outputs": len(made.weights), "tile": way.tile, "kernels": int(kernels)}
        jobs = -(-vectors // way.tile) * blocks
        self.steps.append(Planned(CONVOLVE, jobs, source, target, added, rest, made.slope, nonzeros, made.bias))
        if made.curved:
            self.steps.append(Planned(ACTIVATE, target.channels, target, target, rest={"one": CURVES[made.curved]}))

    def _activation(self, operation: Operation) -> None:
        source = self.places[operation.inputs[0]]
        slope = float(operation.settings.get("negative_slope", 0.0))
        rest = {"one": CURVES.get(operation.kind, LEAKY)}
        self.steps.append(
            Planned(ACTIVATE, source.channels, source, self._place(operation.name), rest=rest, slope=slope)
        )

    _leaky_relu = _relu = _mish = _swish = _logistic = _activation

    def _add(self, operation: Operation) -> None:
        left, right = (self.places[name] for name in operation.inputs)
        self.steps.append(Planned(ADD, left.channels, left, self._place(operation.name), right))

    def _upsample(self, operation: Operation) -> None:
        source = self.places[operation.inputs[0]]
        factor = int(one_of(operation.settings["scale_factor"]))
        self.steps.append(Planned(UPSAMPLE, source.channels, source, self._place(operation.name), rest={"one": factor}))

    def _max_pool(self, operation: Operation) -> None:
        source, settings = self.places[operation.inputs[0]], operation.settings
        side, stride, padding = (int(one_of(settings[key])) for key in ("kernel_size", "stride", "padding"))
        rest = {"one": side, "two": stride, "three": padding}
        self.steps.append(Planned(POOL, source.channels, source, self._place(operation.name), rest=rest))

    def _pad(self, operation: Operation) -> None:
        source = self.places[operation.inputs[0]]
        left, _, top, _ = operation.settings["padding"]
        target = self._place(operation.name, filled=float(operation.settings["value"]))
        self.steps.append(Planned(COPY, source.channels, source, target, rest={"one": left, "two": top}))

    def _slice(self, operation: Operation) -> None:
        buffer, channel, _ = self.places[operation.inputs[0]]
        start, stop = operation.settings["start"], operation.settings["stop"]
        self.places[operation.name] = Map(buffer, channel + start, stop - start)

    def _concat(self, operation: Operation) -> None:
        channels = self.shapes[operation.name][0]
        buffer = self._buffers.setdefault(operation.name, Buffer(self._layout(operation.name), channels))
        first = 0
        for name in operation.inputs:
            part = self.places[name]
            if part.buffer is not buffer or part.channel != first:
                self.steps.append(Planned(COPY, part.channels, part, Map(buffer, first, part.channels)))
            first += part.channels
        self.places[operation.name] = Map(buffer, 0, channels)

    def _raw_map(self, operation: Operation) -> None:
        self.places[operation.name] = self.places[operation.inputs[0]]


def _parts_of_concats(
    operations: Sequence[Operation], shapes: Mapping[str, tuple[int, int, int]]
) -> dict[str, tuple[str, int]]:
    """Value -> the concatenation that it can be written into at once, and its first channel there.

    A value has one place, so it is part of the first concatenation that takes it; for others it is copied.
    """
    made = {operation.name: operation for operation in operations}
    answer: dict[str, tuple[str, int]] = {}
    for operation in operations:
        if operation.kind == "concat":
            first = 0
            for name in operation.inputs:
                writes = name in made and made[name].kind in ("conv", "max_pool", "upsample", "add")
                if writes and name not in answer:
                    answer[name] = (operation.name, first)
                first += shapes[name][0]
    return answer


def flat(made: Convolution) -> NDArray[np.float32]:
    """[O, I, k * k]"""
    outputs, inputs = made.weights.shape[:2]
    return made.weights.reshape(outputs, inputs, -1)


def first_way(made: Convolution, layout: Layout) -> Way:
    """How a convolution is computed before anything was timed."""
    inputs, side = made.weights.shape[1:3]
    little = np.count_nonzero(made.weights) < LITTLE * made.weights.size
    vectors = -(-layout.pixels // WIDTH)
    return Way(
        even_tile(vectors, LARGEST), Blocking(16, inputs) if side == 1 or little or inputs <= 16 else Blocking(64, 16)
    )


def even_tile(vectors: int, largest: int) -> int:
    """Vectors of a tile, so that all of a map are about equal and none is larger than `largest`."""
    return -(-vectors // -(-vectors // largest))


def _offsets(made: Convolution, channels: int, layout: Layout) -> NDArray[np.int64]:
    """Of every channel and place of a kernel, from the pixel of an output. [I, k * k]"""
    shifts = np.arange(made.side) - made.side // 2
    places = (shifts[:, None] * layout.row + shifts).ravel()
    return np.arange(channels)[:, None] * layout.channel + places


def _offsets_of_phases(made: Convolution, channels: int, layout: Layout) -> NDArray[np.int64]:
    """The same in maps of even and odd rows and columns. [I, k * k]"""
    shift, phase = np.divmod(np.arange(made.side) - made.side // 2, 2)
    places = (shift[:, None] * layout.row + shift).ravel()
    phases = (2 * phase[:, None] + phase).ravel()
    return (np.arange(channels)[:, None] + phases * channels) * layout.channel + places
