"""What a command would run, what is there already, and how long the rest takes, from what earlier stages took."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from hydra_det.pipeline.stages.stage import STAGES, Stage
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.store.store import Store

# What the jobs of a dry run in this process would do, a list of stages each.
PLANNED: list[list["Planned"]] = []


class Planned(NamedTuple):
    """A stage of a command that has not been run.

    Attributes:
        name: one of `STAGES`.
        key: its fingerprint.
        found: it is in the store.
        seconds: that it took, or that finished stages of its name took, by their median; None: none is there.
    """

    name: str
    key: str
    found: bool
    seconds: float | None


def plan_stages(runner: StageRunner) -> list[Planned]:
    """The stages of a command in their order; nothing is run and nothing written."""
    planned: list[Planned] = []
    parent: Stage | None = None
    for name in STAGES:
        key = runner.key(name, parent)
        about = runner.store.find(name, key)
        seconds = typical_seconds(runner.store, name) if about is None else about["seconds"]
        planned.append(Planned(name, key, about is not None, seconds))
        parent = Stage(name, key, runner.store.folder(name, key), seconds or 0.0, {}, reused=False)
    return planned


def typical_seconds(store: Store, name: str) -> float | None:
    """The median over the finished stages of a name; None where there is none."""
    times = [about["seconds"] for about in store.finished(name)]
    return statistics.median(times) if times else None


def describe(planned: Iterable[Planned]) -> str:
    """One line: what is to be run with the time it may take, and what is there."""
    words = [f"{stage.name} {duration(stage.seconds)}" for stage in planned if not stage.found]
    there = [stage.name for stage in planned if stage.found]
    said = [f"to run: {', '.join(words)}"] if words else ["all stages are there, scores may be to compute"]
    return "; ".join([*said, *([f"there: {', '.join(there)}"] if words and there else [])])


class Outlook(NamedTuple):
    """What all jobs of a sweep need together."""

    stages: int  # different ones
    found: int
    seconds: float  # of those that are to be run, where that can be foreseen
    unknown: int  # of those that are to be run, those that it cannot be foreseen for

    def __str__(self) -> str:
        again = f", and {self.unknown} stages of which none was ever run" if self.unknown else ""
        return (
            f"{self.stages} different stages, {self.found} of them finished; the others take about "
            f"{duration(self.seconds)}{again}. Scoring and timing come on top."
        )


def outlook(jobs: Iterable[Iterable[Planned]]) -> Outlook:
    """Stages that several jobs share count once."""
    unique = {planned.key: planned for job in jobs for planned in job}.values()
    missing = [planned for planned in unique if not planned.found]
    known = [planned.seconds for planned in missing if planned.seconds is not None]
    return Outlook(len(unique), len(unique) - len(missing), sum(known), len(missing) - len(known))


def duration(seconds: float | None) -> str:
    """Seconds as somebody would say them: `71 s`, `12 min`, `3.5 h`; None is not known."""
    if seconds is None:
        return "(unknown time)"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
