"""What can be asked of pruning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_det.pruning.allocation import ALLOCATIONS
from hydra_det.pruning.granularity import GRANULARITIES
from hydra_det.types import InputError, as_fraction

GROUPED = ("filter_group", "hybrid")
KINDS = (*GRANULARITIES, *GROUPED)
BUDGETS = ("parameters", "flops", "latency")
NEED_CHANNELS = ("filter", *GROUPED)  # must know which layers read what a filter writes
IN_SPARSE = ("weight", "kernel")  # make a layer faster in the engine `sparse` alone
TIMED = (*IN_SPARSE, "filter_group")
STARTS = ("uniform", "erk")
BLOCKS = (2, 4, 8, 16)  # their parts are exact fractions


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """What is removed, how much, and how it is shared out over the layers.

    Args:
        ratio: fraction of the budget that is removed, in [0, 1).
        granularity: one of `KINDS`, what is kept or removed as one.
        allocation: a key of `ALLOCATIONS`, how the ratio is shared out over layers.
        budget: what the ratio counts: weights of masked convolutions, their multiplications, or measured time.
        min_keep: units that every layer, or group of filters, keeps at least; less would cut the network.
        multiple: of `filter_group` and `hybrid`, every group keeps a multiple of so many channels; some processors
            compute those faster.
        exclude: layers whose names start with one of these stay dense.
        rate: learning rate of the shares of `allocation=learned`.
        start: the allocation that `allocation=learned` begins with, one of `STARTS`.
        filter_share: of `hybrid`, the part of the ratio that goes as whole groups of filters, in [0, 1].
        block: of `nm`, M; N is the part of it that the ratio leaves.
    """

    ratio: float
    granularity: str = "weight"
    allocation: str = "uniform"
    budget: str = "parameters"
    min_keep: int = 1
    multiple: int = 1
    exclude: Sequence[str] = ()
    rate: float = 0.05
    start: str = "erk"
    filter_share: float = 0.5
    block: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.ratio, int | float) or not 0 <= self.ratio < 1:
            raise InputError(f"prune.ratio: expected a fraction removed in [0, 1), got {as_fraction(self.ratio)}")
        for key, known in (("granularity", KINDS), ("allocation", ALLOCATIONS), ("budget", BUDGETS), ("start", STARTS)):
            if getattr(self, key) not in known:
                raise InputError(f"prune.{key}: expected one of {', '.join(known)}, got {getattr(self, key)!r}")
        if self.block not in BLOCKS or not isinstance(self.block, int):
            raise InputError(f"prune.block: expected one of {', '.join(map(str, BLOCKS))}, got {self.block!r}")
        if not isinstance(self.filter_share, int | float) or not 0 <= self.filter_share <= 1:
            raise InputError(
                f"prune.filter_share: expected a part of the ratio in [0, 1], got {as_fraction(self.filter_share)}"
            )
        if not isinstance(self.rate, int | float) or not 0 < self.rate < math.inf:
            raise InputError(f"prune.rate: expected a learning rate above 0, got {self.rate}")
        if not isinstance(self.exclude, list | tuple) or not all(isinstance(name, str) for name in self.exclude):
            raise InputError(f"prune.exclude: expected a list, as in prune.exclude=[heads], got {self.exclude}")
        if self.budget == "latency" and self.granularity not in TIMED:
            raise InputError(
                f"prune.budget: expected parameters or flops for granularity={self.granularity}, got latency; only "
                f"{', '.join(TIMED)} say by their number what a layer takes"
            )
        if self.allocation == "learned" and self.granularity == "hybrid":
            raise InputError(
                "prune.allocation: expected uniform, global, erk or lamp for granularity=hybrid, got learned; its "
                "masks do not say how many channels were learned, as a channel may lose its last weight"
            )
        if self.budget == "flops" and self.granularity == "hybrid":
            raise InputError("prune.budget: expected parameters for granularity=hybrid, got flops; it counts weights")
        self._check_counts()
        if self.granularity == "nm":
            self._check_blocks()

    def _check_counts(self) -> None:
        for key in ("min_keep", "multiple"):
            count = getattr(self, key)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise InputError(f"prune.{key}: expected a whole number of at least 1, got {count!r}")
        if self.multiple > 1 and self.granularity not in GROUPED:
            raise InputError(
                f"prune.multiple: expected 1 for granularity={self.granularity}, got {self.multiple}; only "
                f"{' and '.join(GROUPED)} decide how many channels a layer has"
            )

    def _check_blocks(self) -> None:
        kept = (1 - self.ratio) * self.block
        if abs(kept - round(kept)) > 1e-9:
            possible = ", ".join(f"{1 - n / self.block:.4g}" for n in range(self.block, 0, -1))
            raise InputError(
                f"prune.ratio: expected one of {possible} for whole numbers of every {self.block} weights "
                f"(prune.granularity=nm, prune.block={self.block}), got {self.ratio}"
            )
        if self.allocation != "uniform":
            raise InputError(
                f"prune.allocation: expected uniform for granularity=nm, got {self.allocation}; all blocks keep alike"
            )
