"""What compaction brought, from the record of a run: times by engine, and how many fewer operations."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from hydra_det.records.record import PROTOCOLS, Compaction, Latency, Record

NETWORKS = ("dense", "masked", "compact")
NOTHING = 1.05  # a ratio of times below this is no gain
ROUNDED = ("_bf16", "_fp16", "_int8")  # how engines end that do not compute in float32


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


def time_of(compaction: Compaction, network: str, engine: str, batch: int) -> Latency:
    """What was measured of a network in an engine."""
    return next(
        entry["latency"]
        for entry in compaction["latency"]
        if (entry["network"], entry["engine"], entry["latency"]["batch_size"]) == (network, engine, batch)
    )


def timed_cells(compaction: Compaction) -> list[tuple[int, str]]:
    """(batch, engine) of everything that was timed, small batches first."""
    seen = [(entry["latency"]["batch_size"], entry["engine"]) for entry in compaction["latency"]]
    return sorted(dict.fromkeys(seen), key=lambda cell: cell[0])


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


class Fastest(NamedTuple):
    """A network in the engine that computes it fastest in float32."""

    engine: str
    milliseconds: float  # median of forward for a batch


def fastest(compaction: Compaction, network: str, batch: int) -> Fastest:
    """Where a network is fastest without rounding, by forward."""
    timed = [engine for size, engine in timed_cells(compaction) if size == batch]
    exact = [engine for engine in timed if not engine.endswith(ROUNDED)] or timed
    times = {name: time_of(compaction, network, name, batch)["forward"]["median_ms"] for name in exact}
    best = min(times, key=lambda name: times[name])
    return Fastest(best, times[best])
