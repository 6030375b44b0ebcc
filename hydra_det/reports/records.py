"""From the records below a folder to one tidy table, a row per run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_det.record import Protocols, Record, RecordError, read_record

RECORD_NAME = "record.json"
NETWORKS = ("dense", "pruned")
TIMED = (*NETWORKS, "compact")
PARTS = ("forward", "decode", "nms", "total")

_TEXT = ("name", "granularity", "init")
_WORDS = (*_TEXT, "varied", "seed", "folder")
_PRECISION = tuple(
    f"{metric}_{condition}_{network}"
    for metric in ("map", "map_50", "map_50_paper")
    for condition in ("clean", "attacked")
    for network in NETWORKS
)
_LATENCY = tuple(f"{part}_ms_{network}" for part in PARTS for network in TIMED)
COLUMNS = (*_TEXT, "varied", "ratio", "seed", "sparsity", *_PRECISION, *_LATENCY, "seconds", "folder")


def load_records(folder: str | Path) -> tuple[dict[str, Record], dict[str, str]]:
    """All runs at or below a folder.

    Returns:
        Records and problems, each by the folder of the run relative to the given one. A problem is one line that says
        why that record could not be read.
    """
    root = Path(folder)
    records, problems = {}, {}
    for path in sorted(root.rglob(RECORD_NAME)):
        run = path.parent.relative_to(root).as_posix()
        try:
            records[run] = read_record(path)
        except RecordError as error:
            problems[run] = str(error)
    return records, problems


def records_frame(records: Mapping[str, Record]) -> pd.DataFrame:
    """One row a record, with `COLUMNS`; what a run did not measure is NaN. AP in [0, 1], latency in ms, time in s.

    `varied` holds the overrides of a run that not all runs have.
    """
    common = set.intersection(*(set(record.overrides) for record in records.values())) if records else set()
    rows = [
        _row(record) | {"folder": folder, "varied": " ".join(o for o in record.overrides if o not in common) or None}
        for folder, record in records.items()
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [column for column in COLUMNS if column not in _WORDS]
    return frame.astype(dict.fromkeys(numbers, float) | {"seed": "int64"})


def achieved_sparsity(record: Record) -> float:
    """Fraction of the weights of all masked layers that are pruned; 0 where no layer is masked."""
    return record.sparsity["pruned"] / max(1, record.sparsity["total"])


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": record.name,
        "granularity": record.sparsity["granularity"],
        "init": record.config.get("choices", {}).get("init"),
        "ratio": record.sparsity["ratio_asked"],
        "seed": record.seed,
        "sparsity": achieved_sparsity(record),
        "seconds": sum(stage["seconds"] for stage in record.stages if not stage["reused"]),
    }
    for network, metrics in (("dense", record.metrics["dense"]), ("pruned", record.metrics["pruned"])):
        row |= _precision(metrics["clean"], f"clean_{network}")
        row |= _precision(metrics["attacked"], f"attacked_{network}")
    for network, latency in record.latency.items():
        parts = (latency["forward"], latency["decode"], latency["nms"], latency["total"])
        row |= {f"{part}_ms_{network}": spread["median_ms"] for part, spread in zip(PARTS, parts, strict=True)}
    return row


def _precision(protocols: Protocols | None, suffix: str) -> dict[str, float | None]:
    if protocols is None:
        return {}
    return {
        f"map_{suffix}": protocols["coco"]["map"],
        f"map_50_{suffix}": protocols["coco"]["map_50"],
        f"map_50_paper_{suffix}": protocols["paper"]["map_50"],
    }
