"""The dense and the pruned network of a run side by side, as rows of words."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd

from hydra_det.records.record import PROTOCOLS, Protocols, Record, Spread, nms_confidence, suppressed
from hydra_det.records.table import achieved_sparsity

ABSENT = "-"
UNDEFINED = "not defined"  # AP where there is no object in the test images

PRECISION_ROWS: tuple[tuple[str, Callable[[Protocols], float | None]], ...] = (
    ("AP {}", lambda protocols: protocols["coco"]["map"]),
    ("AP50 {}", lambda protocols: protocols["coco"]["map_50"]),
    ("AP50 {}, confidence ≥ 0.5", lambda protocols: protocols["paper"]["map_50"]),
)


class NetworkRow(NamedTuple):
    """One number of both networks."""

    part: str  # of the table
    name: str
    cells: tuple[str, str, str]  # dense, pruned, pruned / dense


def network_rows(record: Record) -> list[NetworkRow]:
    """AP, weights, time, and what is left in the compact network; what was not measured has no row, or a dash."""
    parts = {
        "AP": _precisions(record),
        "weights": _weights(record),
        "time": _times(record),
        "compact": _compact(record),
    }
    return [NetworkRow(part, name, cells) for part, rows in parts.items() for name, cells in rows]


def number(value: float | None, form: str) -> str:
    """A value, or a dash for none."""
    return ABSENT if value is None or pd.isna(value) else form.format(value)


def precision(protocols: Protocols | None, read: Callable[[Protocols], float | None]) -> str:
    """An AP, a dash where it was not measured; of images without objects there is none."""
    value = read(protocols) if protocols else None
    return UNDEFINED if protocols and value is None else number(value, "{:.3f}")


def share(before: float | None, after: float | None) -> str:
    """After in percent of before; empty where that says nothing."""
    return f"{after / before:.1%}" if before and after is not None else ""


Rows = Iterator[tuple[str, tuple[str, str, str]]]


def _precisions(record: Record) -> Rows:
    dense, pruned = record.metrics["dense"], record.metrics["pruned"]
    for condition, before, after in (
        ("clean", dense["clean"], pruned["clean"]),
        ("attacked", dense["attacked"], pruned["attacked"]),
    ):
        for name, read in PRECISION_ROWS:
            large, small = before and read(before), after and read(after)
            cells = precision(before, read), precision(after, read)
            yield name.format(condition), (*cells, share(large, small))


def _weights(record: Record) -> Rows:
    total, kept = record.sparsity["total"], record.sparsity["kept"]
    yield "weights kept by the masks", (f"{total:,}", f"{kept:,}", share(total, kept))
    yield "sparsity", ("0.000", number(achieved_sparsity(record), "{:.3f}"), "")


def _times(record: Record) -> Rows:
    """Forward and decode; NMS, the total and what enters NMS from the confidence of use on; then from COCO's on."""
    both = record.latency.get("dense"), record.latency.get("pruned")
    timed = [latency for latency in both if latency]
    for part in ("forward", "decode") if timed else ():
        yield f"{part} ms", _spreads([latency and latency[part] for latency in both])
    floors = list(dict.fromkeys((*map(nms_confidence, timed), *(PROTOCOLS["coco"] for one in timed if "coco" in one))))
    for floor in floors:
        found = [latency and suppressed(latency, floor) for latency in both]
        for name, part in (("NMS", "nms"), ("total", "total")):
            yield f"{name} ms, confidence ≥ {floor:g}", _spreads([each and each[part] for each in found])  # type: ignore[literal-required]
        counts = [each["candidates"] if each else None for each in found]
        if any(count is not None for count in counts):
            large, small = (number(count, "{:,.1f}") for count in counts)
            yield f"candidates, confidence ≥ {floor:g}", (large, small, share(*counts))


def _compact(record: Record) -> Rows:
    """The network from which all is removed that the masks leave without use."""
    if "compact" not in record.sizes:
        return
    dense, compact = record.sizes["dense"], record.sizes["compact"]
    rows = [("parameters", dense["parameters"], compact["parameters"], "{:,}"),
            ("operations, 10⁶", dense["flops"] / 1e6, compact["flops"] / 1e6, "{:,.0f}")]  # fmt: skip
    if "compact" in record.latency:
        before, after = (record.latency[name]["total"]["median_ms"] for name in ("dense", "compact"))
        rows.append(("total ms", before, after, "{:.2f}"))
    for name, large, small, form in rows:
        yield f"{name}, compact", (number(large, form), number(small, form), share(large, small))
    if "sparse" in record.latency:  # no ratio to the dense one in torch: it would be about engines
        sparse = number(record.latency["sparse"]["total"]["median_ms"], "{:.2f}")
        yield "total ms, compact, engine sparse", ("", sparse, "")


def _spreads(both: list[Spread | None]) -> tuple[str, str, str]:
    large, small = both
    return _spread(large), _spread(small), share(large and large["median_ms"], small and small["median_ms"])


def _spread(spread: Spread | None) -> str:
    return ABSENT if spread is None else f"{spread['median_ms']:.2f} ± {spread['iqr_ms']:.2f}"
