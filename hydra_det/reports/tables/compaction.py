"""What compaction brought, from the record of a run: tables for the terminal and a picture."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hydra_det.records.record import Compaction, Latency, NetworkMetrics, Record
from hydra_det.reports.tables.terminal import ABSENT, new_table

NETWORKS = ("dense", "masked", "compact")
COLOURS = {"dense": "#8c8c8c", "masked": "#c9a35b", "compact": "#2a6f97"}
NOTHING = 1.05  # a ratio of times below this is no gain


def compaction_tables(record: Record) -> Group:
    """Sizes; AP by engine; time by engine beside what the operations promise; then what to know."""
    compaction = _compaction(record)
    notes = [Text(note, style="dim") for note in _notes(compaction)]
    return Group(_sizes(record, compaction), _precision(record, compaction), _times(record, compaction), *notes)


def draw_compaction(record: Record, path: Path) -> None:
    """A PNG: forward time of the three networks by engine, and the gain beside the one that the operations promise."""
    compaction = _compaction(record)
    batches = sorted({entry["latency"]["batch_size"] for entry in compaction["latency"]})
    engines = list(dict.fromkeys(entry["engine"] for entry in compaction["latency"]))
    figure = Figure(figsize=(11, 3.2 * len(batches)), layout="constrained")
    axes = figure.subplots(len(batches), 2, squeeze=False, width_ratios=(2, 1))
    promised = promise(compaction)
    crowded = len(engines) > 4
    for (left, right), batch in zip(axes, batches, strict=True):
        for place, network in enumerate(NETWORKS):
            found = [time_of(compaction, network, engine, batch)["forward"] for engine in engines]
            at = [index + (place - 1) * 0.27 for index in range(len(engines))]
            heights, spread = [part["median_ms"] for part in found], [part["iqr_ms"] / 2 for part in found]
            bars = left.bar(at, heights, 0.25, yerr=spread, label=network, color=COLOURS[network])
            if crowded and network == "masked":  # as high as the dense one
                continue
            left.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        turned = {"rotation": 20, "ha": "right"} if crowded else {}
        left.set_xticks(range(len(engines)), engines, **turned)
        left.set_ylabel(f"forward, batch of {batch}, ms")
        left.legend(frameon=False)
        gains = [gain(compaction, "compact", engine, batch) for engine in engines]
        bars = right.barh(range(len(engines)), gains, 0.6, color=COLOURS["compact"])
        right.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        right.axvline(promised, color="black", linestyle="--", linewidth=1)
        right.annotate(f"promised by FLOPs: {promised:.2f}", (promised, 1), xycoords=("data", "axes fraction"),
                       ha="right", va="bottom", fontsize=8)  # fmt: skip
        right.set_yticks(range(len(engines)), engines)
        right.invert_yaxis()
        right.set_xlim(0, 1.15 * max(promised, *gains))
        right.set_xlabel("dense / compact")
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(record.name, fontsize=10)
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def promise(compaction: Compaction) -> float:
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


def _compaction(record: Record) -> Compaction:
    if record.compaction is None:
        raise ValueError(f"{record.name}: expected a record that compact.py has completed")
    return record.compaction


def _sizes(record: Record, compaction: Compaction) -> Table:
    table = new_table(f"{record.name} · size")
    table.add_column("", no_wrap=True)
    for heading in (*NETWORKS, "dense / compact"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = (
        ("parameters", "parameters", 1, "{:,.0f}"),
        ("operations for an image, 10⁹", "flops", 1e9, "{:,.3f}"),
        ("file of weights, MiB", "file_bytes", 2**20, "{:,.2f}"),
        ("memory for an image, MiB", "peak_bytes", 2**20, "{:,.1f}"),
    )
    for label, key, unit, form in rows:
        values = [compaction["sizes"][name][key] for name in NETWORKS]  # type: ignore[literal-required]
        cells = [ABSENT if value is None else form.format(value / unit) for value in values]
        share = f"{values[0] / values[2]:.2f}" if values[0] and values[2] else ABSENT
        table.add_row(label, *cells, share)
    return table


def _precision(record: Record, compaction: Compaction) -> Table:
    table = new_table(f"{record.name} · AP of the compact network")
    table.add_column("", no_wrap=True)
    for heading in ("AP clean", "AP50 clean", "AP attacked", "AP50 attacked", "raw maps differ", "file, MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("masked network, torch", *_ap(record.metrics["pruned"]), "", "")
    for result in compaction["engines"]:
        size = result["file_bytes"]
        megabytes = ABSENT if size is None else f"{size / 2**20:.2f}"
        table.add_row(result["engine"], *_ap(result["metrics"]), f"{result['difference']:.1e}", megabytes)
    return table


def _ap(metrics: NetworkMetrics | None) -> list[str]:
    cells = []
    for protocols in (metrics["clean"], metrics["attacked"]) if metrics else (None, None):
        for value in (protocols["coco"]["map"], protocols["coco"]["map_50"]) if protocols else (None, None):
            cells.append(ABSENT if value is None else f"{value:.3f}")
    return cells


def _times(record: Record, compaction: Compaction) -> Table:
    table = new_table(f"{record.name} · time, ms a batch")
    table.add_column("engine", no_wrap=True)
    headings = ("batch", *(f"forward {name}" for name in NETWORKS), "decode*", "NMS*", "dense / compact", "promised")
    for heading in headings:
        table.add_column(heading, justify="right")
    promised = promise(compaction)
    for batch, engine in _cells(compaction):
        found = [time_of(compaction, name, engine, batch) for name in NETWORKS]
        forward = [f"{latency['forward']['median_ms']:.1f} ± {latency['forward']['iqr_ms']:.1f}" for latency in found]
        decode, nms = (
            " / ".join(f"{spread['median_ms']:.1f}" for spread in spreads)
            for spreads in ([latency["decode"] for latency in found], [latency["nms"] for latency in found])
        )
        gained = gain(compaction, "compact", engine, batch)
        table.add_row(engine, str(batch), *forward, decode, nms, f"{gained:.2f}", f"{promised:.2f}")
    return table


def _cells(compaction: Compaction) -> list[tuple[int, str]]:
    """(batch, engine) of the rows."""
    seen = [(entry["latency"]["batch_size"], entry["engine"]) for entry in compaction["latency"]]
    return sorted(dict.fromkeys(seen), key=lambda cell: cell[0])


def _faster(compaction: Compaction, network: str) -> list[str]:
    """Where a network is faster than the dense one by more than 5 % and more than both times spread."""
    found = []
    for batch, engine in _cells(compaction):
        dense, other = (time_of(compaction, name, engine, batch)["forward"] for name in ("dense", network))
        saved = dense["median_ms"] - other["median_ms"]
        if gain(compaction, network, engine, batch) > NOTHING and saved > max(dense["iqr_ms"], other["iqr_ms"]):
            found.append(f"{engine} with batches of {batch}")
    return found


def _notes(compaction: Compaction) -> Iterator[str]:
    """What a reader must know before quoting the numbers above."""
    differences = ", ".join(f"{value:.1e} in {name}" for name, value in compaction["differences"].items())
    yield f"Compact and masked network give the same raw maps: largest difference, of the largest value, {differences}."
    one = compaction["latency"][0]["latency"]
    height, width = one["image_size"]
    yield (
        f"Time: median ± interquartile range of {one['repeats']} repeats, networks in turn, "
        f"{width} x {height} px, {one['device_name']}, {one['threads']} CPU threads. *Decode and NMS are torch's: "
        "dense / masked / compact."
    )
    masked, compact = _faster(compaction, "masked"), _faster(compaction, "compact")
    if not masked:
        yield "Masks alone bring nothing: in no engine is the masked network faster than the dense one, noise apart."
    elif len(masked) < len(_cells(compaction)):
        yield f"Masks alone bring something in {', '.join(masked)} only."
    if not compact:
        yield (
            "Nor does compaction: these masks leave nearly every channel a weight. Masks of groups of filters "
            "(prune=filter_group) leave a narrower network."
        )
