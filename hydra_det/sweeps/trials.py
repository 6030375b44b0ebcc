"""The runs of a search, in their order, and what they leave in its folder."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.process.script import is_helper
from hydra_det.records.objectives import TARGET, Search, Trial, measure_all, meets, say, say_goals, write_search
from hydra_det.records.record import Record
from hydra_det.records.table import records_frame
from hydra_det.reports.figures.front import FRONT, draw_front
from hydra_det.reports.tables.search import search_table
from hydra_det.reports.tables.terminal import show, write_summary_csv
from hydra_det.sweeps.target import Target, contradictions
from hydra_det.sweeps.verdict import bracket, unmet
from hydra_det.types import InputError, RatioError

log = logging.getLogger(__name__)

Train = Callable[[Config, Path, list[str]], Record | None]

BEST, SUMMARY = "best", "summary.csv"


class Trials:
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
        tried = [trial["ratio"] for trial in self.done]
        result = Search(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            goals=target.goals,
            lowest=target.lowest,
            highest=target.highest,
            tolerance=target.tolerance,
            dense=measure_all(next(iter(self.records.values())), network="dense"),
            trials=self.done,
            chosen=chosen,
            notes=[*bracket(found, target, tried=tried), *contradictions(self.done, target.goals)],
        )
        self._report(result)
        if chosen is None:
            raise InputError(unmet(result, target))
        goals, best = say_goals(target.goals), self.folder / BEST
        log.info("target: ratio %g gives %s; go on with python compact.py run=%s", ratio, goals, best)
        return self.records[self.done[chosen]["folder"]]

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
