"""From a target to a ratio: runs with other ratios, each in a folder of its own, until one is close enough."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.process.script import is_helper
from hydra_det.records.objectives import (
    TARGET,
    Search,
    Trial,
    measure,
    measure_all,
    meets,
    say,
    say_goals,
    write_search,
)
from hydra_det.records.record import Record
from hydra_det.records.table import records_frame
from hydra_det.reports.figures.front import FRONT, draw_front
from hydra_det.reports.tables.search import search_table
from hydra_det.reports.tables.terminal import show, write_summary_csv
from hydra_det.sweeps.check import check_search, check_target, has_target
from hydra_det.sweeps.target import SHRINKING, Target, between, bisect, contradictions
from hydra_det.types import InputError, RatioError

log = logging.getLogger(__name__)

Train = Callable[[Config, Path, list[str]], Record | None]

BEST, SUMMARY = "best", "summary.csv"


def search(train: Train, config: Any, folder: Path) -> Record | None:
    """The run that a config asks for or, with a target, the one with the ratio that the target leads to.

    Args:
        train: makes a run from a config, a folder, and what would have to be typed for it.
        config: not resolved, as a ratio is handed on to many places.
        folder: of the run; of a search, which leaves all its runs and what was found in it.
    """
    searched = has_target(config)
    asked = build.plain(config)
    check_search(asked)
    if not searched:
        return train(asked, folder, build.overrides())
    target, typed = check_target(asked), build.overrides()
    if any(word.lstrip("+").startswith("prune.ratio=") for word in typed):
        raise InputError(
            f"prune.ratio: expected none beside target.{next(iter(target.goals))}, which finds it; leave one out, or "
            "give bounds by target.lowest and target.highest"
        )
    small = next((name for name in ("latency_ms", "megabytes") if name in target.goals), None)
    if small and (granularity := asked["prune"]["granularity"]) not in SHRINKING:
        log.warning("target.%s: masks of %s leave few channels to remove; prune=filter_group does", small, granularity)
    words = [word for word in typed if not word.lstrip("+").startswith("target.")]
    trials = _Trials(train, config, folder, target=target, words=words)
    start, end = target.ends
    if asked["dry_run"]:
        ratios = start, between(start, end, target.tolerance)
        log.info("target: at most %d runs; the first are of ratio %g, and if it serves %g", target.trials, *ratios)
        for ratio in ratios:
            trials.run(ratio)
        return None
    trials.forget()
    found = bisect(trials.serves, start=start, end=end, tolerance=target.tolerance, trials=target.trials)
    return trials.finish(found)


def objective_values(record: Record | None, names: Sequence[str] | None) -> list[float] | float | None:
    """What a sweeper asks of a run, in the order of its names; None: nothing is asked, or nothing was run."""
    if record is None or not names:
        return None
    found = {name: measure(record, name) for name in names}
    if missing := [name for name, value in found.items() if value is None]:
        raise InputError(f"objectives: expected {', '.join(names)}, {', '.join(missing)} was not measured in this run")
    numbers = [value for value in found.values() if value is not None]
    return numbers if len(numbers) > 1 else numbers[0]


class _Trials:
    """The runs of a search, in their order."""

    def __init__(self, train: Train, config: Any, folder: Path, *, target: Target, words: list[str]) -> None:
        self.train, self.config, self.folder = train, config, folder
        self.target, self.words = target, words
        self.done: list[Trial] = []
        self.records: dict[str, Record] = {}

    def run(self, ratio: float) -> Record | None:
        """An ordinary run with another ratio; a finished one is found."""
        config = build.plain(build.changed(self.config, "prune.ratio", ratio))
        return self.train(config, self.folder / _name(ratio), [*self.words, f"prune.ratio={ratio}"])

    def serves(self, ratio: float) -> bool:
        """Run a trial; whether it reaches what the bisection follows."""
        trial = Trial(ratio=ratio, folder=_name(ratio), values={}, meets=False, refused=None)
        try:
            record = self.run(ratio)
        except RatioError as error:
            if not self.done:  # nothing is known to work, so it may not be the ratio
                raise RatioError(f"{error} (ratio {ratio:g} is where the search starts)") from error
            trial["refused"] = str(error)
            self.done.append(trial)
            log.warning("target: ratio %g leaves no network: %s", ratio, error)
            return False
        assert record is not None
        self.records[trial["folder"]] = record
        trial["values"] = measure_all(record)
        trial["meets"] = meets(trial["values"], self.target.goals)
        self.done.append(trial)
        serves = meets(trial["values"], self.target.steering)
        log.info("target: ratio %g has %s: %s", ratio, say(trial["values"]), "serves" if serves else "does not serve")
        return serves

    def finish(self, found: tuple[float, float] | None) -> Record:
        """Say and write what was found, or that nothing was."""
        target, pick = self.target, max if self.target.wants_largest else min
        met = [trial["ratio"] for trial in self.done if trial["meets"]]
        ratio = pick(met) if met else None
        chosen = None if ratio is None else next(k for k, trial in enumerate(self.done) if trial["ratio"] == ratio)
        result = Search(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            goals=target.goals,
            lowest=target.lowest,
            highest=target.highest,
            tolerance=target.tolerance,
            dense=measure_all(next(iter(self.records.values())), network="dense"),
            trials=self.done,
            chosen=chosen,
            notes=[*self._bracket(found), *contradictions(self.done, target.goals)],
        )
        self._report(result)
        if chosen is None:
            raise InputError(self._unmet(result))
        goals, best = say_goals(target.goals), self.folder / BEST
        log.info("target: ratio %g gives %s; go on with python compact.py run=%s", ratio, goals, best)
        return self.records[self.done[chosen]["folder"]]

    def _bracket(self, found: tuple[float, float] | None) -> list[str]:
        """How close the search came."""
        if found is None:
            return []
        good, bad = found
        if good == self.target.ends[1]:
            return [f"ratio {good:g} is the end of the range that was searched: target.lowest, target.highest"]
        said = f"between ratio {good:g}, which serves, and {bad:g}, {self._state(bad)}, nothing was tried"
        if abs(bad - good) <= self.target.tolerance:
            return [said]
        return [f"{said}: {len(self.done)} runs were not enough for target.tolerance={self.target.tolerance:g}"]

    def _state(self, ratio: float) -> str:
        return "which does not" if any(trial["ratio"] == ratio for trial in self.done) else "the end of the range"

    def _unmet(self, result: Search) -> str:
        """One line: what was asked, and the best on every side of it."""
        target, networks = self.target, [trial for trial in self.done if trial["refused"] is None]
        asked = f"target: expected a network with {say_goals(target.goals)}"
        dense = f"the dense network has {say(_only(result['dense'], target))}"
        if len(self.done) == 1:
            (trial,) = networks
            extreme = "least" if target.wants_largest else "most"
            return (
                f"{asked}, got {say(_only(trial['values'], target))} at ratio {trial['ratio']:g}, the {extreme} that "
                f"may be removed; {dense}; ask for less, train longer, or change target."
                f"{'lowest' if target.wants_largest else 'highest'}"
            )
        precise = max(
            (t for t in networks if meets(t["values"], target.steering)),
            key=lambda trial: trial["ratio"],
        )
        ceilings = {name: bound for name, bound in target.goals.items() if name not in target.steering}
        small = [trial for trial in networks if meets(trial["values"], ceilings)]
        if small:
            least = min(small, key=lambda trial: trial["ratio"])
            other = f"{say_goals(ceilings)} takes ratio {least['ratio']:g} with {say(_only(least['values'], target))}"
        else:
            most = max(networks, key=lambda trial: trial["ratio"])
            other = (
                f"no ratio reaches {say_goals(ceilings)}, the largest, {most['ratio']:g}, has "
                f"{say(_only(most['values'], target))}"
            )
        return (
            f"{asked}, got none: ratio {precise['ratio']:g} is the largest that keeps AP, with "
            f"{say(_only(precise['values'], target))}; {other}; {dense}"
        )

    def forget(self) -> None:
        """A search that fails must not leave the result of an earlier one in its folder."""
        if is_helper():
            return
        for name in (TARGET, BEST, SUMMARY, FRONT):
            (self.folder / name).unlink(missing_ok=True)

    def _report(self, result: Search) -> None:
        if is_helper():
            return
        frame = records_frame(self.records)
        write_summary_csv(self.folder / SUMMARY, frame)
        draw_front(frame, self.folder / FRONT)
        if result["chosen"] is not None:
            (self.folder / BEST).symlink_to(self.done[result["chosen"]]["folder"], target_is_directory=True)
        write_search(self.folder / TARGET, result)
        show(search_table(result, frame))
        log.info("target: %s", self.folder / TARGET)


def _name(ratio: float) -> str:
    return f"ratio_{ratio:.10g}"


def _only(values: dict[str, float | None], target: Target) -> dict[str, float | None]:
    return {name: values[name] for name in target.goals}
