"""What compaction brought, from the record of a run: as rows of words, as tables for the terminal, as a picture."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hydra_det.records.engine_times import fastest, time_of, timed_cells
from hydra_det.records.record import (
    PROTOCOLS,
    Compaction,
    NetworkMetrics,
    Record,
    Spread,
    nms_confidence,
    suppressed,
)
from hydra_det.reports.figures.compaction import compaction_figure
from hydra_det.reports.statistics.cautions import BUSY
from hydra_det.reports.statistics.gains import (
    NETWORKS,
    compaction_of,
    faster_in,
    fewer_operations,
    from_confidence,
    gain,
)
from hydra_det.reports.tables.terminal import ABSENT, new_table

_SIZES = (
    ("parameters", "parameters", 1, "{:,.0f}"),
    ("operations for an image, 10⁹", "flops", 1e9, "{:,.3f}"),
    ("file of weights, MiB", "file_bytes", 2**20, "{:,.2f}"),
    ("memory for an image, MiB", "peak_bytes", 2**20, "{:,.1f}"),
)


class Rows(NamedTuple):
    """A table as words; narrow enough for 80 columns, a heading may be of two lines."""

    title: str
    headings: tuple[str, ...]
    rows: list[list[str]]


def compaction_tables(record: Record) -> Group:
    """Sizes; AP by engine; time by engine beside how many times fewer operations; then what to know."""
    notes = [Text(note, style="dim") for note in compaction_notes(compaction_of(record))]
    return Group(*(_drawn(record, rows) for rows in compaction_rows(record)), *notes)


def draw_compaction(record: Record, path: Path) -> None:
    """A PNG of `compaction_figure`; nothing where nothing was timed."""
    if not compaction_of(record)["latency"]:
        return
    with matplotlib.rc_context({"savefig.dpi": 110}):
        compaction_figure(record).savefig(path)


def compaction_rows(record: Record) -> list[Rows]:
    """Sizes; AP by engine; forward time by engine and batch; decoding and NMS.

    Raises:
        ValueError: compact.py was not run on it.
    """
    compaction = compaction_of(record)
    timed = [_times(compaction), _rest(compaction)] if compaction["latency"] else []
    return [_sizes(compaction), _precision(record, compaction), *timed]


def compaction_notes(compaction: Compaction) -> Iterator[str]:
    """What a reader must know before quoting the numbers."""
    differences = ", ".join(f"{value:.1e} in {name}" for name, value in compaction["differences"].items())
    yield f"Compact and masked network give the same raw maps: largest difference, of the largest value, {differences}."
    if not compaction["latency"]:
        yield "Nothing was timed; run compact.py on it again."
        return
    one = compaction["latency"][0]["latency"]
    height, width = one["image_size"]
    yield (
        f"Time: median ± interquartile range of {one['repeats']} repeats, networks in turn, "
        f"{width} x {height} px, {one['device_name']}, {one['threads']} CPU threads. Decode and NMS are torch's. "
        f"{from_confidence(nms_confidence(entry['latency']) for entry in compaction['latency'])}"
    )
    if (load := max(entry["latency"]["load"] or 0 for entry in compaction["latency"])) > BUSY:
        yield (
            f"The machine was busy when these times were taken ({load:.1f} processes a core): they are too long and "
            "vary; take them again on an idle one."
        )
    for batch in sorted({batch for batch, _ in timed_cells(compaction)}):
        dense, small = (fastest(compaction, network, batch) for network in ("dense", "compact"))
        if dense.engine != small.engine:  # the ratios above compare within an engine
            yield (
                f"Fastest in float32, batches of {batch}: the dense network in {dense.engine}, "
                f"{dense.milliseconds:.1f} ms, the compact one in {small.engine}, {small.milliseconds:.1f} ms: "
                f"{dense.milliseconds / small.milliseconds:.2f} times as fast."
            )
    masked, compact = faster_in(compaction, "masked"), faster_in(compaction, "compact")
    if not masked:
        yield "Masks alone bring nothing: in no engine is the masked network faster than the dense one, noise apart."
    elif len(masked) < len(timed_cells(compaction)):
        yield f"Masks alone bring something in {', '.join(masked)} only."
    if not compact:
        yield (
            "Nor does compaction: these masks leave nearly every channel a weight. Masks of groups of filters "
            "(prune=filter_group) leave a narrower network."
        )


def _drawn(record: Record, rows: Rows) -> Table:
    table = new_table(f"{record.name} · {rows.title}")
    table.add_column(rows.headings[0], no_wrap=True)
    for heading in rows.headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows.rows:
        table.add_row(*row)
    return table


def _sizes(compaction: Compaction) -> Rows:
    rows = []
    for label, key, unit, form in _SIZES:
        values = [compaction["sizes"][name][key] for name in NETWORKS]  # type: ignore[literal-required]
        cells = [ABSENT if value is None else form.format(value / unit) for value in values]
        share = f"{values[0] / values[2]:.2f}" if values[0] and values[2] else ABSENT
        rows.append([label, *cells, share])
    return Rows("size", ("", *NETWORKS, "dense /\ncompact"), rows)


def _precision(record: Record, compaction: Compaction) -> Rows:
    rows = [["masked, torch", *_ap(record.metrics["pruned"]), "", ""]]
    for result in compaction["engines"]:
        size = result["file_bytes"]
        megabytes = ABSENT if size is None else f"{size / 2**20:.2f}"
        rows.append([result["engine"], *_ap(result["metrics"]), f"{result['difference']:.1e}", megabytes])
    headings = ("", "AP\nclean", "AP50\nclean", "AP\nattacked", "AP50\nattacked", "raw maps\ndiffer", "file,\nMiB")
    return Rows("AP of the compact network", headings, rows)


def _ap(metrics: NetworkMetrics | None) -> list[str]:
    cells = []
    for protocols in (metrics["clean"], metrics["attacked"]) if metrics else (None, None):
        for value in (protocols["coco"]["map"], protocols["coco"]["map_50"]) if protocols else (None, None):
            cells.append(ABSENT if value is None else f"{value:.3f}")
    return cells


def _times(compaction: Compaction) -> Rows:
    rows = []
    for batch, engine in timed_cells(compaction):
        found = [time_of(compaction, name, engine, batch)["forward"] for name in NETWORKS]
        forward = [f"{spread['median_ms']:.1f} ± {spread['iqr_ms']:.1f}" for spread in found]
        rows.append([engine, str(batch), *forward, f"{gain(compaction, 'compact', engine, batch):.2f}"])
    title = f"forward, ms a batch ({fewer_operations(compaction):.2f} times fewer operations)"
    return Rows(title, ("engine", "batch", *NETWORKS, "dense /\ncompact"), rows)


def _rest(compaction: Compaction) -> Rows:
    rows, floors = [], dict[float, None]()
    for batch, engine in timed_cells(compaction):
        found = [time_of(compaction, name, engine, batch) for name in ("dense", "compact")]
        floors = dict.fromkeys((nms_confidence(found[0]), PROTOCOLS["coco"]))
        parts: list[list[Spread | None]] = [[latency["decode"] for latency in found]]
        for floor in floors:
            from_there = [suppressed(latency, floor) for latency in found]
            parts.append([one and one["nms"] for one in from_there])
        totals = [latency["total"]["median_ms"] for latency in found]
        rows.append([engine, str(batch), *(_medians(part) for part in parts), f"{totals[0] / totals[1]:.2f}"])
    headings = ("engine", "batch", "decode", *(f"NMS,\n≥ {floor:g}" for floor in floors), "all, dense\n/ compact")
    return Rows("decode and NMS, ms a batch: dense / compact", headings, rows)


def _medians(spreads: Iterable[Spread | None]) -> str:
    return " / ".join(ABSENT if spread is None else f"{spread['median_ms']:.1f}" for spread in spreads)
