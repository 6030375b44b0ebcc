"""What a table of runs says, in sentences: which configuration is best, by what it is told apart, what got faster."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hydra_det.reports.late_decisions import LateDecision, rests_on_one
from hydra_det.reports.statistics import significance
from hydra_det.reports.statistics.cells import CELL, cell_table, seed_values
from hydra_det.reports.statistics.hints import hint_of_groups, hint_of_pairs, hints_in_words, marked
from hydra_det.reports.statistics.significance import LEVEL

LEARNED = 0.05  # AP of a dense network below which it has learned too little for any comparison
UNDEFINED = "not defined: no object in the test images"
NOTHING = 1.05  # a ratio of times below this is no gain


class Leader(NamedTuple):
    """The configuration with the highest mean at a ratio."""

    ratio: float
    configuration: str
    mean: float
    sd: float  # NaN of one seed
    alike: list[str]  # others that cannot be told from it
    lower: list[str]  # others that are lower, by an interval of the difference
    untested: list[str]  # others for which there are too few seeds
    hints: dict[str, str]  # of those that are lower: why that is a hint only


def leaders(frame: pd.DataFrame, metric: str, late: Sequence[LateDecision] = ()) -> list[Leader]:
    """The best configuration at every ratio, and which others cannot be told from it.

    Intervals of the differences are of pairs of seeds where all seeds of the smaller cell are in the other one, else
    Welch's; all others against the best one together at 95 % (Bonferroni).

    Args:
        frame: `records_frame`.
        metric: of `METRICS`; more is better.
        late: what was decided on after looking at results.
    """
    values, found = seed_values(frame, metric), []
    for ratio in sorted(values.index.unique("ratio")):
        here = values.xs(ratio, level="ratio")
        cells = {str(name): here.xs(name, level="configuration") for name in here.index.unique("configuration")}
        best = max(cells, key=lambda name: (cells[name].mean(), name))
        groups: dict[bool | None, list[str]] = {True: [], False: [], None: []}
        for name in cells:
            if name != best:
                level = 1 - LEVEL / (len(cells) - 1)
                groups[_is_higher(cells[best], cells[name], level=level)].append(name)
        leader = cells[best]
        is_late = rests_on_one(late, [ratio])
        reasons = {name: _hint(leader, cells[name], late=is_late) for name in groups[True]}
        hints = {name: reason for name, reason in reasons.items() if reason}
        found.append(Leader(ratio, best, leader.mean(), leader.std(), groups[False], groups[True], groups[None], hints))
    return found


def summary(frame: pd.DataFrame, late: Sequence[LateDecision] = ()) -> list[str]:
    """Sentences about the whole, every number of them from the runs.

    Args:
        frame: `records_frame`.
        late: what was decided on after looking at results.
    """
    cells = cell_table(frame).pivot(index=CELL, columns="metric", values="mean")
    attacked = bool(frame["map_attacked_pruned"].notna().any())
    return [*learned(frame), *_best(frame, cells, late, attacked=attacked), *_speed(frame, cells), *_size(cells)]


def learned(frame: pd.DataFrame) -> Iterator[str]:
    """What makes every number about pruning empty, if anything does."""
    best = frame["map_clean_dense"].max()
    if pd.isna(best):
        yield f"AP is {UNDEFINED}; how much of it pruning keeps is not known."
    elif best < LEARNED:
        yield (
            f"The dense networks have learned next to nothing (AP on clean images {best:.3f} at the most): what "
            "follows shows that everything runs, and says nothing about any method."
        )


def _best(frame: pd.DataFrame, cells: pd.DataFrame, late: Sequence[LateDecision], *, attacked: bool) -> Iterator[str]:
    metric, where = ("map_attacked", "under attack") if attacked else ("map_clean", "on clean images")
    if not attacked:
        yield "No run was attacked: nothing here is about robustness."
    found = leaders(frame, metric, late)
    for leader in found:
        cell: Any = cells.xs(leader.ratio, level="ratio").loc[leader.configuration]
        own = frame[(frame["configuration"] == leader.configuration) & (frame["ratio"] == leader.ratio)]
        kept = _kept(cell, own)
        removed = f"With {percent(leader.ratio)} of the weights removed" if leader.ratio else "With nothing removed"
        spread = "" if math.isnan(leader.sd) else f" ± {leader.sd:.3f}"
        several = leader.alike or leader.lower or leader.untested
        rank = "has the highest AP" if several else "has an AP"
        yield (f"{removed}, {leader.configuration} {rank} {where}, {leader.mean:.3f}{spread}{kept}.{_apart(leader)}")
    if hint := hints_in_words(reason for leader in found for reason in leader.hints.values()):
        yield hint


def _kept(cell: pd.Series, own: pd.DataFrame) -> str:
    """What the dense networks of a cell have, and what it keeps of that; no share of what is next to nothing."""
    had, parts = [], []
    for kind, where in (("clean", "on clean images"), ("attacked", "under attack")):
        before = own[f"map_{kind}_dense"].mean()
        if not math.isnan(before):
            had.append(f"{before:.3f} {where}")
        if before >= LEARNED and not math.isnan(cell[f"retention_{kind}"]):
            parts.append(f"{percent(cell[f'retention_{kind}'])} {where}")
    keeps = f", of which it keeps {' and '.join(parts)}" if parts else ""
    return f"; its dense network has {' and '.join(had)}{keeps}" if had else ""


def _apart(leader: Leader) -> str:
    sentences = []
    if leader.alike:
        sentences.append(f"Not distinguishable from it: {_listed(leader.alike)}.")
    if leader.lower:
        everything = not leader.alike and not leader.untested
        lower = [marked(name, leader.hints.get(name, "")) for name in leader.lower]
        if everything and len(leader.hints) in (0, len(lower)):
            sentences.append(f"{marked('All others are lower', next(iter(leader.hints.values()), ''))}.")
        else:
            sentences.append(f"Lower: {_listed(lower)}.")
    if leader.untested:
        sentences.append(f"Too few seeds to tell it from {_listed(leader.untested)}.")
    return "".join(f" {sentence}" for sentence in sentences)


def _speed(frame: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    pruned = frame[frame["ratio"] > 0]
    gains = pruned["total_ms_dense"] / pruned["total_ms_pruned"]
    if gains.notna().any():
        middle = gains.median()
        verdict = "are not faster" if middle < NOTHING else "are faster"
        yield (
            f"Masks alone: the masked networks {verdict} than the dense ones, {middle:.2f} times as fast "
            f"(median of {gains.count()} runs)."
        )
    for metric, what in (("forward_speed_up", "in the forward pass"), ("speed_up", "with decoding and NMS")):
        for ratio, found in _highest(cells, metric):
            words = [f"{name} {value:.2f}" for name, value in found.items()]
            best = max(found.values())
            verdict = f"up to {best:.2f} times as fast as" if best >= NOTHING else "not faster than"
            yield f"Compact networks at {percent(ratio)} are, {what}, {verdict} the dense ones ({'; '.join(words)})."


def _size(cells: pd.DataFrame) -> Iterator[str]:
    for ratio, found in _highest(cells, "parameters_share"):
        words = [f"{name} {percent(value)}" for name, value in found.items()]
        yield f"Of the parameters, compact networks at {percent(ratio)} still have: {'; '.join(words)}."


def _highest(cells: pd.DataFrame, metric: str) -> Iterator[tuple[float, dict[str, float]]]:
    """The highest ratio that has a metric, and its mean by configuration; nothing where no pruned run has it."""
    values = cells[metric].dropna()
    values = values[values.index.get_level_values("ratio") > 0]
    if len(values):
        ratio = float(values.index.get_level_values("ratio").max())
        yield ratio, {str(name): float(value) for name, value in values.xs(ratio, level="ratio").items()}


def _is_higher(one: pd.Series, two: pd.Series, *, level: float) -> bool | None:
    """Whether the interval of the difference is above 0; None where there is none."""
    fewer, shared = min(len(one), len(two)), one.index.intersection(two.index)
    if fewer < 2:
        return None
    if len(shared) == fewer:
        interval = significance.paired_interval(two[shared].to_numpy(), one[shared].to_numpy(), level=level)
    else:
        interval = significance.welch_interval(two.to_numpy(), one.to_numpy(), level=level)
    return interval.low > 0


def _hint(one: pd.Series, two: pd.Series, *, late: bool) -> str:
    """Why `_is_higher` is a hint only; empty: it is more."""
    shared = len(one.index.intersection(two.index))
    if shared == min(len(one), len(two)):
        return hint_of_pairs(shared, late=late)
    return hint_of_groups(len(one), len(two), late=late)


def percent(share: float) -> str:
    """A share, for a sentence."""
    return f"{100 * share:.3g} %"


def _listed(names: list[str]) -> str:
    """Names that hold commas themselves."""
    return "; ".join(names)
