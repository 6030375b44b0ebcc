"""From a target to a ratio: runs with other ratios, each in a folder of its own, until one is close enough."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_det.pipeline import build
from hydra_det.records.objectives import measure
from hydra_det.records.record import Record
from hydra_det.sweeps.bisection import between, bisect
from hydra_det.sweeps.check import check_search, has_target
from hydra_det.sweeps.target import SHRINKING
from hydra_det.sweeps.trials import Train, Trials
from hydra_det.types import InputError

log = logging.getLogger(__name__)


def search(train: Train, config: Any, folder: Path) -> Record | None:
    """The run that a config asks for or, with a target, the one with the ratio that the target leads to.

    Args:
        train: makes a run from a config, a folder, and what would have to be typed for it.
        config: not resolved, as a ratio is handed on to many places.
        folder: of the run; of a search, which leaves all its runs and what was found in it.
    """
    searched = has_target(config)
    asked = build.plain(config)
    target = check_search(asked)
    if not searched:
        return train(asked, folder, build.overrides())
    typed = build.overrides()
    if any(word.lstrip("+").startswith("prune.ratio=") for word in typed):
        raise InputError(
            f"prune.ratio: expected none beside target.{next(iter(target.goals))}, which finds it; leave one out, or "
            "give bounds by target.lowest and target.highest"
        )
    small = next((name for name in ("latency_ms", "megabytes") if name in target.goals), None)
    if small and (granularity := asked["prune"]["granularity"]) not in SHRINKING:
        log.warning("target.%s: masks of %s leave few channels to remove; prune=filter_group does", small, granularity)
    words = [word for word in typed if not word.lstrip("+").startswith("target.")]
    if "sparse_latency_ms" in target.goals:  # no run is timed in that engine unless it is asked to
        config = build.changed(config, "evaluation.latency.sparse", True)
        words.append("evaluation.latency.sparse=true")
    trials = Trials(train, config, folder, target=target, words=words)
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
