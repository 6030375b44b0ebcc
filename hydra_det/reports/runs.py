"""The runs that a report is about, from one folder or several."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hydra_det.records.record import FAILED_NAME, Record, RecordError
from hydra_det.records.robustness import ROBUSTNESS, Robustness, read_robustness
from hydra_det.records.table import load_records, records_frame
from hydra_det.reports.late_decisions import LATE_DECISIONS, LateDecision, read_late_decisions

# The folder of a run as sweeps name them: what it is, its ratio, its seed.
FOLDER = re.compile(r"(?P<what>.+)_(?P<ratio>\d+(\.\d+)?)_seed(?P<seed>\d+)")

Folders = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Runs:
    """Finished runs and what went wrong with the others; a run goes by its folder."""

    folders: list[Path]  # as they were given
    records: dict[str, Record]
    paths: dict[str, Path]  # of the records
    problems: dict[str, str]  # why a record could not be read, one line each
    failures: dict[str, str]  # what `failed.txt` says of a run that came to nothing
    frame: pd.DataFrame  # `records_frame`
    # What suites of attacks found: the run, or its folder if it is none of these.
    suites: list[tuple[str, Robustness]] = field(default_factory=list)
    late: list[LateDecision] = field(default_factory=list)  # what was decided on after looking at results


def read_runs(folders: Folders, *, suites: Folders = ()) -> Runs:
    """All runs at or below the folders; one that is found twice counts once.

    A run goes by its folder below the one that was given, and that one by its own name. Of several folders the name
    of each stands before those of its runs.

    Args:
        folders: one or several, with runs.
        suites: further folders, at or below which results of suites of attacks lie, as `evaluate.py` leaves them.

    Raises:
        RecordError: A folder does not exist, there is nothing to report, or what was decided on late cannot be read.
    """
    given = _paths(folders)
    records: dict[str, Record] = {}
    paths: dict[str, Path] = {}
    problems: dict[str, str] = {}
    failures: dict[str, str] = {}
    seen: set[Path] = set()
    for place, root in enumerate(given):
        if not root.is_dir():
            raise RecordError(f"runs: expected a folder of runs, got {root}, which is not there")
        own = _name(root, given, place)
        found, unreadable = load_records(root)
        failed = _failures(root)
        for run in dict.fromkeys((*found, *unreadable, *failed)):
            if (path := (root / run).resolve()) in seen:
                continue
            seen.add(path)
            name = own if run == "." else run if len(given) == 1 else f"{own}/{run}"
            if run in found:
                records[name], paths[name] = found[run], root / run
            if run in unreadable:
                problems[name] = unreadable[run]
            if run in failed:
                failures[name] = failed[run]
    if not records:
        reasons = [*problems.values(), *failures.values()]
        reason = f"; {len(reasons)} unusable, the first: {reasons[0]}" if reasons else ""
        shown = ", ".join(map(str, given)) or "no folder"
        raise RecordError(f"runs: expected a folder with record.json of finished runs, got none in {shown}{reason}")
    found_suites = _suites([*given, *_paths(suites)], {path.resolve(): name for name, path in paths.items()}, problems)
    return Runs(given, records, paths, problems, failures, records_frame(records), found_suites, _late(given))


def failed_runs(frame: pd.DataFrame, failures: Iterable[str]) -> dict[str, list[float]]:
    """Ratios of the runs that came to nothing, by configuration, as their folders tell beside those of finished ones.

    Under `""` stand those whose configuration cannot be told.
    """
    known: dict[str, set[str]] = {}
    for folder, configuration in zip(frame["folder"], frame["configuration"], strict=True):
        for key in _whose(folder):
            known.setdefault(key, set()).add(configuration)
    failed: dict[str, list[float]] = {}
    for folder in set(failures) - set(frame["folder"]):
        names = next((known[key] for key in _whose(folder) if key in known), set())
        found = _folder(folder)
        failed.setdefault(next(iter(names)) if len(names) == 1 else "", []).append(
            float(found["ratio"]) if found else math.nan
        )
    return failed


def _paths(folders: Folders) -> list[Path]:
    return [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]


def _suites(roots: Sequence[Path], names: Mapping[Path, str], problems: dict[str, str]) -> list[tuple[str, Robustness]]:
    """The results of suites, each with the name of its run; what cannot be read is added to the problems.

    The run is the one that a suite says it was made on or, as for results that were copied, the one it lies in.
    """
    suites = []
    for root in roots:
        if not root.is_dir():
            raise RecordError(f"suites: expected a folder with results of suites, got {root}, which is not there")
        for path in sorted(root.rglob(ROBUSTNESS)):
            try:
                found = read_robustness(path)
            except RecordError as error:
                problems[path.parent.as_posix()] = str(error)
                continue
            folder = Path(found["origin"]["run"])
            places = (folder.resolve(), *path.resolve().parents)
            suites.append((next((names[place] for place in places if place in names), str(folder)), found))
    return suites


def _late(roots: Iterable[Path]) -> list[LateDecision]:
    """All decisions at or below the folders; a file that is found twice counts once."""
    files = dict.fromkeys(path.resolve() for root in roots for path in sorted(root.rglob(LATE_DECISIONS)))
    return [decision for path in files for decision in read_late_decisions(path)]


def _failures(root: Path) -> dict[str, str]:
    """Why runs came to nothing, by their folder."""
    return {
        path.parent.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace").strip()
        for path in sorted(root.rglob(FAILED_NAME))
        if path.is_file()
    }


def _name(root: Path, given: Sequence[Path], place: int) -> str:
    """The last part of a folder, with its place where another one is called the same."""
    names = [folder.resolve().name for folder in given]
    return root.resolve().name if names.count(names[place]) == 1 else f"{names[place]}#{place + 1}"


def _whose(folder: str) -> list[str]:
    """What a folder is called without its ratio and seed: with the sweep that it lies in, then alone."""
    found = _folder(folder)
    return [f"{folder.rpartition('/')[0]}/{found['what']}", found["what"]] if found else []


def _folder(folder: str) -> re.Match[str] | None:
    return FOLDER.fullmatch(re.sub(r"^\d+_", "", folder.rpartition("/")[2]))
