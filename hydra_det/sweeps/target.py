"""What a search for a pruning ratio is asked for, and the bisection."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from hydra_det.records.objectives import OBJECTIVES, Trial, say
from hydra_det.types import InputError, as_fraction

# Units whose masks make layers smaller; other masks empty a channel now and then.
SHRINKING = ("filter", "filter_group", "hybrid")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Bounds on the network that a run makes, and the ratios to look at.

    With a floor of AP the largest ratio that keeps it is looked for; with a ceiling of time or size alone the smallest
    ratio that reaches it; with both the largest ratio that keeps AP, which must reach the ceiling as well.

    Args:
        map_attacked: AP@[.5:.95] under attack, at least, in (0, 1].
        map_clean: AP@[.5:.95] of clean images, at least, in (0, 1].
        latency_ms: time of the compact network for an image in ms, at most.
        sparse_latency_ms: the same in the engine `sparse`, at most.
        megabytes: weights of the compact network in float32 in 10^6 bytes, at most.
        lowest: ratio that is not gone below.
        highest: ratio that is not gone above.
        tolerance: distance between a ratio that serves and one that does not at which it is good enough.
        trials: runs at most.
    """

    map_attacked: float | None = None
    map_clean: float | None = None
    latency_ms: float | None = None
    sparse_latency_ms: float | None = None
    megabytes: float | None = None
    lowest: float = 0
    highest: float = 0.99
    tolerance: float = 0.02
    trials: int = 10

    def __post_init__(self) -> None:
        for name, bound in self.goals.items():
            floor = OBJECTIVES[name].direction == "maximize"
            if not _is_number(bound) or not 0 < bound <= (1 if floor else math.inf) or bound == math.inf:
                expected = "an AP in (0, 1]" if floor else "a number above 0"
                raise InputError(f"target.{name}: expected {expected}, got {bound}")
        for name in ("lowest", "highest"):
            if not _is_number(ratio := getattr(self, name)) or not 0 <= ratio < 1:
                raise InputError(f"target.{name}: expected a ratio in [0, 1), got {as_fraction(ratio)}")
        if self.lowest >= self.highest:
            raise InputError(
                f"target.lowest: expected a ratio below target.highest={self.highest}, got {self.lowest}; for a single "
                "ratio use prune.ratio"
            )
        if not _is_number(self.tolerance) or not 0 < self.tolerance < self.highest - self.lowest:
            raise InputError(
                f"target.tolerance: expected a distance between ratios above 0 and below {self.highest - self.lowest:g}"
                f", that of lowest and highest, got {self.tolerance}"
            )
        if not _is_number(self.trials) or not isinstance(self.trials, int) or self.trials < 2:
            raise InputError(f"target.trials: expected a whole number of at least 2, got {self.trials}")

    @property
    def goals(self) -> dict[str, float]:
        """What is asked, by objective."""
        asked = {name: getattr(self, name) for name in OBJECTIVES}
        return {name: bound for name, bound in asked.items() if bound is not None}

    @property
    def steering(self) -> dict[str, float]:
        """The goals that the bisection follows: AP where it is asked for, as the largest ratio is then wanted."""
        floors = {name: bound for name, bound in self.goals.items() if OBJECTIVES[name].direction == "maximize"}
        return floors or self.goals

    @property
    def wants_largest(self) -> bool:
        """The largest ratio is looked for, else the smallest."""
        return any(OBJECTIVES[name].direction == "maximize" for name in self.goals)

    @property
    def ends(self) -> tuple[float, float]:
        """The ratio that must serve, and the one to go towards."""
        return (self.lowest, self.highest) if self.wants_largest else (self.highest, self.lowest)


def contradictions(trials: list[Trial], goals: Mapping[str, float]) -> list[str]:
    """Where a larger ratio has more of something that the search assumes to fall, a line each."""
    ordered = sorted((trial for trial in trials if trial["refused"] is None), key=lambda trial: trial["ratio"])
    return [
        f"the search assumes that more pruning does not raise {OBJECTIVES[name].title}: here it rises from "
        f"{say({name: before})} at ratio {a['ratio']:g} to {say({name: after})} at {b['ratio']:g}"
        for name in goals
        for a, b in pairwise(ordered)
        if (before := a["values"].get(name)) is not None
        and (after := b["values"].get(name)) is not None
        and after > before
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
