"""What a report says first: what was removed and what is left, what that brings, and how sure it is."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from hydra_det.records.engine_times import fastest, timed_cells
from hydra_det.records.record import Record
from hydra_det.reports.page.summary import LEARNED, NOTHING, UNDEFINED, leaders, learned, percent
from hydra_det.reports.statistics.cells import metric_values
from hydra_det.reports.statistics.gains import from_confidence
from hydra_det.reports.statistics.significance import detectable_effect
from hydra_det.reports.tables.terminal import threat_in_words

KEPT = 0.9  # of the AP of the dense network: as much as is meant by "nearly all"


class Finding(NamedTuple):
    """One sentence or two, and what they are about."""

    about: str
    text: str


class Chosen(NamedTuple):
    """The cell that the first screen speaks of: the best configuration at a ratio."""

    configuration: str
    ratio: float
    kept: float  # the smaller share of AP, of those clean and under attack; NaN where there is none


def chosen_cell(frame: pd.DataFrame) -> Chosen | None:
    """Where most is removed and nearly all of AP is left; if that is nowhere, where most is left. None: no AP at all.

    Args:
        frame: `records_frame`.
    """
    metric = "map_attacked" if frame["map_attacked_pruned"].notna().any() else "map_clean"
    cells = [
        Chosen(leader.configuration, leader.ratio, _kept(_own(frame, leader.configuration, leader.ratio)))
        for leader in leaders(frame, metric)
    ]
    pruned = [cell for cell in cells if cell.ratio > 0] or cells
    enough = [cell for cell in pruned if cell.kept >= KEPT]
    if enough:
        return max(enough, key=lambda cell: cell.ratio)
    return max(pruned, key=lambda cell: (-1 if math.isnan(cell.kept) else cell.kept, cell.ratio), default=None)


def findings(records: Mapping[str, Record], frame: pd.DataFrame) -> list[Finding]:
    """The three of them, every number from the runs.

    Args:
        records: by folder of the run.
        frame: `records_frame` of them.
    """
    cell = chosen_cell(frame)
    if cell is None:
        return [Finding("What is left", f"AP is {UNDEFINED}; there is nothing to say about what pruning keeps.")]
    own = _own(frame, cell.configuration, cell.ratio)
    runs = {folder: records[folder] for folder in own["folder"]}
    return [
        Finding("What is left", " ".join([*learned(frame), *_left(frame, own, cell)])),
        Finding("What it brings", " ".join(_brings(own, runs))),
        Finding("How sure that is", " ".join(_sure(own, runs))),
    ]


def _own(frame: pd.DataFrame, configuration: str, ratio: float) -> pd.DataFrame:
    """The runs of a cell."""
    return frame[(frame["configuration"] == configuration) & (frame["ratio"] == ratio)]


def _kept(own: pd.DataFrame) -> float:
    shares = [own[f"map_{kind}_pruned"].mean() / own[f"map_{kind}_dense"].mean() for kind in ("clean", "attacked")
              if own[f"map_{kind}_dense"].mean() > 0]  # fmt: skip
    return min((share for share in shares if not math.isnan(share)), default=math.nan)


def _left(frame: pd.DataFrame, own: pd.DataFrame, cell: Chosen) -> Iterator[str]:
    removed = f"{100 * cell.ratio:g} % of the weights are removed" if cell.ratio else "Nothing is removed"
    yield f"{removed} ({cell.configuration})."
    changes = list(_changes(own))
    yield f"AP goes {' and '.join(changes)}." if changes else "The AP of the dense network is not known."
    yield from _why(frame, cell)


def _why(frame: pd.DataFrame, cell: Chosen) -> Iterator[str]:
    """Why it is this cell that is spoken of, where there are others."""
    rivals = frame.loc[frame["ratio"] == cell.ratio, "configuration"].nunique()
    if rivals > 1:
        where = "under attack" if frame["map_attacked_pruned"].notna().any() else "on clean images"
        yield f"Of {rivals} configurations at this ratio it has the highest AP {where}."
    ratios = frame.loc[frame["ratio"] > 0, "ratio"]
    if math.isnan(cell.kept) or not cell.ratio or ratios.nunique() < 2:
        return
    if cell.kept < KEPT:
        yield f"At no ratio does the best configuration keep {percent(KEPT)} of its AP."
    elif cell.ratio < ratios.max():
        yield f"At no higher ratio does the best configuration keep {percent(KEPT)} of its AP."


def _changes(own: pd.DataFrame) -> Iterator[str]:
    for kind, where in (("clean", "on clean images"), ("attacked", "under attack")):
        before, after = own[f"map_{kind}_dense"].mean(), own[f"map_{kind}_pruned"].mean()
        if not math.isnan(before) and not math.isnan(after):
            share = f" ({100 * after / before:.0f} %)" if before >= LEARNED else ""
            yield f"from {before:.3f} to {after:.3f} {where}{share}"


def _brings(own: pd.DataFrame, runs: Mapping[str, Record]) -> Iterator[str]:
    share = (own["parameters_compact"] / own["parameters_dense"]).mean()
    if not math.isnan(share):
        before, after = own["megabytes_dense"].mean(), own["megabytes_compact"].mean()
        yield (
            f"The compact network, without what the masks leave unused, has {percent(share)} of the parameters and "
            f"takes {after:.1f} MB instead of {before:.1f} MB."
        )
    total = (own["total_ms_dense"] / own["total_ms_compact"]).mean()
    forward = (own["forward_ms_dense"] / own["forward_ms_compact"]).mean()
    if math.isnan(total):
        timed = own["total_ms_dense"].notna().any()
        yield (
            "The compact network was not timed, and masks alone make no network faster." if timed
            else "No run was timed: nothing is known of speed."
        )  # fmt: skip
    else:
        verdict = f"It is {total:.2f} times as fast" if total >= NOTHING else f"It is not faster ({total:.2f} times)"
        yield f"{verdict}, decoding and NMS included; the forward pass alone {forward:.2f} times."
        yield from_confidence(own["nms_confidence"])
    fastest_each = metric_values(own, "speed_up_fastest").mean()
    if len(runs) > 1 and not math.isnan(fastest_each):
        yield (
            f"Each network in the engine that computes it fastest, as compact.py timed them, it is {fastest_each:.2f} "
            "times as fast as the dense one."
        )
    yield from _engines(runs)


def _engines(runs: Mapping[str, Record]) -> Iterator[str]:
    """What is gained in float32, each network in its fastest engine, of one run that compact.py looked at."""
    compaction = next(iter(runs.values())).compaction if len(runs) == 1 else None
    if compaction is None or not compaction["latency"]:
        return
    found = {}
    for batch, _ in timed_cells(compaction):
        found[batch] = [fastest(compaction, network, batch) for network in ("dense", "compact")]
    gains = {batch: dense.milliseconds / small.milliseconds for batch, (dense, small) in found.items()}
    batch = max(gains, key=lambda size: gains[size])
    gained, (dense, small) = gains[batch], found[batch]
    if gained >= NOTHING:
        yield (
            f"Timed again engine by engine, it takes {small.milliseconds:.1f} ms in {small.engine} for batches of "
            f"{batch}, the dense network at best {dense.milliseconds:.1f} ms, in {dense.engine}: {gained:.2f} times."
        )


def _sure(own: pd.DataFrame, runs: Mapping[str, Record]) -> Iterator[str]:
    seeds = own["seed"].nunique()
    yield (
        f"{seeds} seeds: a test finds differences of {detectable_effect(seeds):.1f} standard deviations in four of "
        "five cases."
        if seeds > 1
        else "One seed: no spread and no test, so another seed may give other numbers."
    )
    attacked = [record for record in runs.values() if record.metrics["pruned"]["attacked"] is not None]
    threats = list(dict.fromkeys(threat_in_words(record.attack) for record in attacked))
    if not threats:
        yield "Not attacked: nothing here is about robustness."
    elif len(threats) == 1:
        yield f"{threats[0]} The robust AP is at most that under this attack: a stronger one may find less."
    else:
        yield f"Attacked in {len(threats)} ways, which do not compare."
