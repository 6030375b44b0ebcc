"""A program as the threads of the engine read it: rows of whole numbers, and the arrays that they refer to."""

from typing import Any, NamedTuple

CONVOLVE, UPSAMPLE, POOL, PHASES, ACTIVATE, COPY, ADD, DENSE = range(8)  # DENSE: by torch, between two calls of `run`
LEAKY, MISH, SWISH, LOGISTIC = range(4)


class Step(NamedTuple):
    """A row of a program, whole numbers all; what an operation does not need is 0.

    Attributes:
        operation: one of the above.
        jobs: how many there are.
        source: where its map begins.
        source_row: floats from row to row.
        source_channel: floats from channel to channel.
        source_height: rows.
        target: where what is written begins.
        target_row: floats from row to row.
        target_channel: floats from channel to channel.
        target_height: rows.
        border: zero columns of a row.
        outputs: channels that are written.
        tile: vectors of a tile, 1 to `LARGEST`, see `convolving`.
        block: outputs of a block.
        chunks: of inputs.
        first: where the beginnings of its weights begin.
        kernels: 1 for whole kernels.
        bias: where its biases begin.
        added: where a map that is added begins; -1: none.
        one: of upsampling the factor, of a pool the side, of an activation which.
        two: of a pool the stride.
        three: of a pool the padding.
    """

    operation: int
    jobs: int
    source: int = 0
    source_row: int = 0
    source_channel: int = 0
    source_height: int = 0
    target: int = 0
    target_row: int = 0
    target_channel: int = 0
    target_height: int = 0
    border: int = 1
    outputs: int = 0
    tile: int = 0
    block: int = 0
    chunks: int = 0
    first: int = 0
    kernels: int = 0
    bias: int = 0
    added: int = -1
    one: int = 0
    two: int = 0
    three: int = 0


(
    OPERATION, JOBS, SOURCE, SOURCE_ROW, SOURCE_CHANNEL, SOURCE_HEIGHT, TARGET, TARGET_ROW, TARGET_CHANNEL,
    TARGET_HEIGHT, BORDER, OUTPUTS, TILE, BLOCK, CHUNKS, FIRST, KERNELS, BIAS, ADDED, ONE, TWO, THREE,
) = range(len(Step._fields))  # fmt: skip


class Tables(NamedTuple):
    """What the steps of a program refer to.

    Attributes:
        steps: [S, fields of `Step`].
        slopes: [S], of LeakyReLU, also at the end of a convolution: the larger of value and slope * value.
        first: beginnings of the weights of an output in a chunk, all convolutions one after another.
        offsets: of single weights.
        weights: themselves.
        kernel_offsets: of whole kernels.
        kernel_weights: nine for each.
        biases: of all outputs.
    """

    steps: Any
    slopes: Any
    first: Any
    offsets: Any
    weights: Any
    kernel_offsets: Any
    kernel_weights: Any
    biases: Any
