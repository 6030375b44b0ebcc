"""What a command came to, without what time and place may change: two runs of one seed have the same outcome.

Not in the package: a record says when and where, and nobody but a test wants it to be silent on that.
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra_det.records.record import read_record

# Of a record: when and at which commit it was made, how fast this machine was then, where things lie, who found a stage
# finished, the memory of a network, which is measured in pages, and the checksum over all that.
CHANGING = (
    "created",
    "seconds",
    "reused",
    "folder",
    "load",
    "latency",
    "store",
    "root",
    "overrides",
    "peak_bytes",
    "commit",
    "sha256",
)
TIMED = ("_ms", "seconds")  # in the names of columns of tables
WHOLE = ("weights.safetensors", "detections_clean.csv", "detections_clean.json", "detections_attacked.csv",
         "detections_attacked.json", "scores.json")  # fmt: skip
UNFINISHED = (".partial", ".damaged")
# Of a report: tables and figures that say nothing of time.
SHOWN = ("map_", "ap_", "kept_", "learning_", "samples_")


def outcome(folder: Path) -> dict[str, Any]:
    """Everything below a folder that counts, by its path there: records, hashes of files of the store and the pictures.

    Links are not followed: what they show lies in the store, which has to be in the folder as well.
    """
    found: dict[str, Any] = {}
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        if "report/" in name:
            if path.name.startswith(SHOWN):
                found[name] = _hash(path)
        elif path.name == "record.json":
            read_record(path)  # is one
            found[name] = without_time_and_place(json.loads(path.read_text()))
        elif path.name in WHOLE or "shapes/" in name:
            found[name] = _hash(path)
        elif path.name == "summary.csv":
            found[name] = _without_times(path.read_text())
    return found


def differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    """One line for everything that is not as wanted."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        return [
            line
            for key in keys
            for line in (
                differences(found[key], wanted[key], f"{place}/{key}")
                if key in found and key in wanted
                else [f"{place}/{key}: {'not wanted' if key in found else 'missing'}"]
            )
        ]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [line for index, pair in pairs for line in differences(*pair, f"{place}[{index}]")]
    return [] if found == wanted else [f"{place}: {str(found)[:60]} instead of {str(wanted)[:60]}"]


def without_time_and_place(part: Any) -> Any:
    """A record, or a part of one, without `CHANGING`."""
    if isinstance(part, dict):
        return {key: without_time_and_place(value) for key, value in part.items() if key not in CHANGING}
    return [without_time_and_place(item) for item in part] if isinstance(part, list) else part


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink() or any(word in path.name for word in UNFINISHED) or path.name == "logs":
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_times(table: str) -> list[dict[str, str]]:
    rows = csv.DictReader(table.splitlines())
    return [{name: cell for name, cell in row.items() if not any(word in name for word in TIMED)} for row in rows]
