"""A convolution as the list of its weights that are not zero, in the order in which they are worked through.

Outputs are taken in blocks, and for every block inputs in chunks, so that what is read stays in the fast cache while a
block of outputs asks for it. Within a chunk every output has its weights side by side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hydra_det.types import InputError

Floats = NDArray[np.float32]
Offsets = NDArray[np.int32]

KERNEL = 9  # weights of a whole kernel of 3 x 3


class Blocking(NamedTuple):
    """How a convolution is cut: outputs of a block, inputs of a chunk."""

    outputs: int
    inputs: int


class Nonzeros(NamedTuple):
    """Of one convolution.

    Attributes:
        first: [blocks * chunks * outputs of a block + 1], where the weights of an output in a chunk begin; it ends
            where the next one begins.
        offsets: [N] in floats, from the pixel of an output to the pixel of an input.
        weights: [N], or [N, 9] where whole kernels are kept.
        chunks: of inputs.
        blocking: how it was cut.
    """

    first: NDArray[np.int64]
    offsets: Offsets
    weights: Floats
    chunks: int
    blocking: Blocking


def find_nonzeros(weights: Floats, places: NDArray[np.int64], *, blocking: Blocking, kernels: bool = False) -> Nonzeros:
    """Cut a convolution.

    Args:
        weights: [O, I, K], K places of a kernel.
        places: [I, K], the offset of every input and place.
        blocking: outputs of a block and inputs of a chunk.
        kernels: keep whole kernels, of which any weight is not zero, by the offset of their first place.

    Raises:
        InputError: the maps are too large for offsets of 32 bits.
    """
    outputs, inputs, _ = weights.shape
    if places.max(initial=0) > np.iinfo(np.int32).max:
        raise InputError(f"image_size: expected maps of at most 8 GiB for engine sparse, got {inputs} larger channels")
    chunks = -(-inputs // blocking.inputs)
    blocks = -(-outputs // blocking.outputs)
    used = weights.any(axis=2, keepdims=True) if kernels else weights != 0  # [O, I, 1 or K]
    output, source, place = np.nonzero(used)
    block, within = np.divmod(output, blocking.outputs)
    slot = (block * chunks + source // blocking.inputs) * blocking.outputs + within
    order = np.argsort(slot, kind="stable")
    output, source, place = output[order], source[order], place[order]
    first = np.zeros(blocks * chunks * blocking.outputs + 1, dtype=np.int64)
    np.cumsum(np.bincount(slot, minlength=len(first) - 1), out=first[1:])
    values = weights[output, source] if kernels else weights[output, source, place]
    return Nonzeros(
        first, places[source, place].astype(np.int32), np.ascontiguousarray(values, dtype=np.float32), chunks, blocking
    )


def in_kernels(weights: Floats) -> bool:
    """Whether zeros come as whole kernels of 3 x 3, or nearly so. [O, I, K]"""
    if weights.shape[2] != KERNEL:
        return False
    used = weights.any(axis=2)
    return bool(used.sum() * KERNEL * 0.8 <= np.count_nonzero(weights))
