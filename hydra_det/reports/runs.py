"""The runs that a report is about, from one folder or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hydra_det.record import Record, RecordError
from hydra_det.reports.records import load_records, records_frame

FAILED_NAME = "failed.txt"  # why a run came to nothing, in its folder


@dataclass(frozen=True)
class Runs:
    """Finished runs and what went wrong with the others; a run goes by its folder."""

    folders: list[Path]  # as they were given
    records: dict[str, Record]
    paths: dict[str, Path]  # of the records
    problems: dict[str, str]  # why a record could not be read, one line each
    failures: dict[str, str]  # what `failed.txt` says of a run that came to nothing
    frame: pd.DataFrame  # `records_frame`


def read_runs(folders: Sequence[str | Path]) -> Runs:
    """All runs at or below the folders; one that is found twice counts once.

    Of several folders the name of each stands before those of its runs.

    Raises:
        RecordError: A folder does not exist, or there is nothing to report.
    """
    given = [Path(folder) for folder in folders]
    records: dict[str, Record] = {}
    paths: dict[str, Path] = {}
    problems: dict[str, str] = {}
    failures: dict[str, str] = {}
    seen: set[Path] = set()
    for place, root in enumerate(given):
        if not root.is_dir():
            raise RecordError(f"runs: expected a folder of runs, got {root}, which is not there")
        before = "" if len(given) == 1 else f"{_name(root, given, place)}/"
        found, unreadable = load_records(root)
        failed = _failures(root)
        for run in dict.fromkeys((*found, *unreadable, *failed)):
            if (path := (root / run).resolve()) in seen:
                continue
            seen.add(path)
            if run in found:
                records[before + run], paths[before + run] = found[run], root / run
            if run in unreadable:
                problems[before + run] = unreadable[run]
            if run in failed:
                failures[before + run] = failed[run]
    if not records:
        reasons = [*problems.values(), *failures.values()]
        reason = f"; {len(reasons)} unusable, the first: {reasons[0]}" if reasons else ""
        shown = ", ".join(map(str, given)) or "no folder"
        raise RecordError(f"runs: expected a folder with record.json of finished runs, got none in {shown}{reason}")
    return Runs(given, records, paths, problems, failures, records_frame(records))


def _failures(root: Path) -> dict[str, str]:
    """Why runs came to nothing, by their folder."""
    return {
        path.parent.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace").strip()
        for path in sorted(root.rglob(FAILED_NAME))
    }


def _name(root: Path, given: Sequence[Path], place: int) -> str:
    """The last part of a folder, with its place where another one is called the same."""
    names = [folder.resolve().name for folder in given]
    return root.resolve().name if names.count(names[place]) == 1 else f"{names[place]}#{place + 1}"
