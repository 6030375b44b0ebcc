"""The times that compact.py took of the networks of a run, by engine."""

from typing import Literal, NamedTuple

from hydra_det.records.record import Compaction, Latency

ROUNDED = ("_bf16", "_fp16", "_int8")  # how engines end that do not compute in float32


class Fastest(NamedTuple):
    """A network in the engine that computes it fastest in float32."""

    engine: str
    milliseconds: float  # median, for a batch


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


def fastest(compaction: Compaction, network: str, batch: int, part: Literal["forward", "total"] = "forward") -> Fastest:
    """Where a network is fastest without rounding.

    Args:
        compaction: with times of this batch.
        network: `dense`, `masked` or `compact`.
        batch: images.
        part: the forward pass alone, or all with decoding and NMS.
    """
    timed = [engine for size, engine in timed_cells(compaction) if size == batch]
    exact = [engine for engine in timed if not engine.endswith(ROUNDED)] or timed
    times = {name: time_of(compaction, network, name, batch)[part]["median_ms"] for name in exact}
    best = min(times, key=lambda name: times[name])
    return Fastest(best, times[best])
