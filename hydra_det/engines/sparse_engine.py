"""Our own engine, which leaves zeros out; it is imported where Numba is there."""

from pathlib import Path

from torch import nn

from hydra_det.engines.engine import Forward
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.raw_maps import FlatOutputs
from hydra_det.types import InputError

TOLERANCE = 1e-5  # float32 sums of the same terms in another order


def in_sparse(network: nn.Module, _file: Path | None, threads: int) -> Forward:
    """Forward on the CPU of a network in the form of a graph."""
    from hydra_det.engines.sparse.engine import Sparse  # noqa: PLC0415

    if not isinstance(network, GraphDetector):
        asked = network.network if isinstance(network, FlatOutputs) else network
        raise InputError(
            f"engine sparse: expected a network of the YOLO family, got {type(asked).__name__}; take another engine"
        )
    return Sparse(network, threads=threads)


def has_vectors() -> bool:
    """Whether the processor has the instructions that the engine is written in."""
    from hydra_det.engines.sparse.compiled.jit import lanes  # noqa: PLC0415

    return lanes() > 0
