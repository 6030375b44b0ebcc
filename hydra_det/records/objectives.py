"""What a search over runs aims at, and what a search for a pruning ratio found: `target.json`.

As in `record.py` the typed dictionaries are documentation, static types and schema at once.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

from hydra_det.files.atomic import write_atomically
from hydra_det.records.record import Record
from hydra_det.records.schema import check_plain, read_checked

TARGET = "target.json"


class Objective(NamedTuple):
    """A number of a run.

    Attributes:
        title: for people.
        column: in the frame of records.
        direction: maximize or minimize.
        form: of the number.
    """

    title: str
    column: str
    direction: str
    form: str


# Of the network that comes out of a run; masks give neither speed nor size, so these are of the compact one.
OBJECTIVES: dict[str, Objective] = {
    "map_clean": Objective("AP clean", "map_clean_pruned", "maximize", "{:.3f}"),
    "map_attacked": Objective("AP attacked", "map_attacked_pruned", "maximize", "{:.3f}"),
    "latency_ms": Objective("ms", "total_ms_compact", "minimize", "{:.2f}"),
    "sparse_latency_ms": Objective("ms in sparse", "total_ms_sparse", "minimize", "{:.2f}"),
    "megabytes": Objective("MB", "megabytes_compact", "minimize", "{:.3f}"),
}


# Whose time an objective is, by the network that it is asked of; nobody runs a dense network in `sparse`.
TIMED = {"latency_ms": {"dense": "dense", "compact": "compact"}, "sparse_latency_ms": {"compact": "sparse"}}


class Trial(TypedDict):
    """A run with one ratio."""

    ratio: float
    folder: str  # of the run, below that of the search
    values: dict[str, float | None]  # by objective; empty: no network, None: not measured
    meets: bool  # all that the target asks
    refused: str | None  # why this ratio leaves no network; None: it does


class Search(TypedDict):
    """A search for the ratio that a target leads to."""

    created: str  # UTC, ISO 8601
    goals: dict[str, float]  # by objective: the least or the most that it may be
    lowest: float
    highest: float
    tolerance: float
    dense: dict[str, float | None]  # the network before pruning
    trials: list[Trial]  # in the order they were run
    chosen: int | None  # index of the trial that the target leads to; None: it is not met
    notes: list[str]  # what a reader must know


def measure(record: Record, name: str, *, network: str = "pruned") -> float | None:
    """An objective of the network that a run made, or of the one before pruning, `dense`; None: not measured.

    AP is COCO's AP@[.5:.95] at confidence >= 0.001, time the median of an image in ms, a megabyte 10^6 bytes.
    """
    small = "dense" if network == "dense" else "compact"
    if name in TIMED:
        timed = TIMED[name].get(small)
        return record.latency[timed]["total"]["median_ms"] if timed in record.latency else None
    if name == "megabytes":
        return record.sizes[small]["file_bytes"] / 1e6 if small in record.sizes else None
    metrics = record.metrics["dense" if network == "dense" else "pruned"]
    protocols = metrics["clean"] if name == "map_clean" else metrics["attacked"]
    return protocols["coco"]["map"] if protocols else None


def measure_all(record: Record, *, network: str = "pruned") -> dict[str, float | None]:
    """All objectives, by name."""
    return {name: measure(record, name, network=network) for name in OBJECTIVES}


def meets(found: Mapping[str, float | None], goals: Mapping[str, float]) -> bool:
    """Whether values are at least, or for what is minimised at most, what is asked; what was not measured is not."""
    return all((value := found.get(name)) is not None and _reaches(name, value, goals[name]) for name in goals)


def say(found: Mapping[str, float | None]) -> str:
    """Values in words: `AP attacked 0.250, 12.10 ms`."""
    words = []
    for name, value in found.items():
        title, number = OBJECTIVES[name].title, "-" if value is None else OBJECTIVES[name].form.format(value)
        words.append(f"{title} {number}" if title.startswith("AP") else f"{number} {title}")
    return ", ".join(words)


def say_goals(goals: Mapping[str, float]) -> str:
    """What is asked, in words: `AP attacked of at least 0.25 and at most 12 ms`."""
    return " and ".join(
        f"{OBJECTIVES[name].title} of at least {bound:g}"
        if OBJECTIVES[name].direction == "maximize"
        else f"at most {bound:g} {OBJECTIVES[name].title}"
        for name, bound in goals.items()
    )


def write_search(path: str | Path, search: Search) -> None:
    """Write a search whole or not at all."""
    check_plain(search, str(path))
    write_atomically(path, json.dumps(search, allow_nan=False, indent=2, sort_keys=True) + "\n")


def read_search(path: str | Path) -> Search:
    """Read a search back.

    Raises:
        RecordError: The file is none; the message names the file and the key.
    """
    return Search(**read_checked(path, Search, what="what a search with a target wrote"))  # type: ignore[typeddict-item]


def _reaches(name: str, value: float, bound: float) -> bool:
    return value >= bound if OBJECTIVES[name].direction == "maximize" else value <= bound
