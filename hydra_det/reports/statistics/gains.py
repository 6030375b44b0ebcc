"""What compaction brought, from the record of a run: times by engine, and how many fewer operations."""

from collections.abc import Iterable

import pandas as pd

from hydra_det.records.engine_times import time_of, timed_cells
from hydra_det.records.record import PROTOCOLS, Compaction, Record

NETWORKS = ("dense", "masked", "compact")
NOTHING = 1.05  # a ratio of times below this is no gain


def compaction_of(record: Record) -> Compaction:
    """What compact.py added to a record.

    Raises:
        ValueError: It was not run.
    """
    if record.compaction is None:
        raise ValueError(f"{record.name}: expected a record that compact.py has completed")
    return record.compaction


def fewer_operations(compaction: Compaction) -> float:
    """How many times fewer operations the compact network needs than the dense one."""
    sizes = compaction["sizes"]
    return sizes["dense"]["flops"] / sizes["compact"]["flops"]


def gain(compaction: Compaction, network: str, engine: str, batch: int) -> float:
    """How many times faster than the dense network in the same engine, forward alone."""
    dense, other = (time_of(compaction, name, engine, batch) for name in ("dense", network))
    return dense["forward"]["median_ms"] / other["forward"]["median_ms"]


def from_confidence(confidences: Iterable[float]) -> str:
    """From which confidence on the NMS of a total counts boxes, as a sentence; empty where nothing was timed.

    Args:
        confidences: of the timings, NaN where there is none.
    """
    found = sorted({value for value in confidences if not pd.isna(value)})
    if not found:
        return ""
    sentence = f"NMS counts boxes of confidence {' or '.join(f'{value:g}' for value in found)} and more"
    if found == [PROTOCOLS["coco"]]:
        return f"{sentence}, as COCO's AP does: most of them no product would use."
    return f"{sentence}." if len(found) == 1 else f"{sentence}: these totals do not compare."


def faster_in(compaction: Compaction, network: str) -> list[str]:
    """Where a network is faster than the dense one by more than 5 % and more than both times spread."""
    found = []
    for batch, engine in timed_cells(compaction):
        dense, other = (time_of(compaction, name, engine, batch)["forward"] for name in ("dense", network))
        saved = dense["median_ms"] - other["median_ms"]
        if gain(compaction, network, engine, batch) > NOTHING and saved > max(dense["iqr_ms"], other["iqr_ms"]):
            found.append(f"{engine} with batches of {batch}")
    return found
