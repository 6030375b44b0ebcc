"""What compaction brought, as a picture: the time of the three networks by engine, and the gain."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_det.records.engine_times import fastest, time_of
from hydra_det.records.record import Compaction, Record
from hydra_det.reports.figures.style import SETTINGS, wrapped
from hydra_det.reports.statistics.gains import NETWORKS, compaction_of, fewer_operations, gain

COLOURS = {"dense": "#8c8c8c", "masked": "#c9a35b", "compact": "#2a6f97"}
WIDE = 120  # letters of the title
CROWDED = 4  # engines; more of them need turned names


def compaction_figure(record: Record) -> Figure:
    """Forward time of the three networks by engine, and the gain beside how many times fewer operations; a row a batch.

    The gain is that over the dense network in the same engine, and in the one that computes it fastest in float32.

    Raises:
        ValueError: compact.py was not run on it.
    """
    compaction = compaction_of(record)
    batches = sorted({entry["latency"]["batch_size"] for entry in compaction["latency"]})
    engines = list(dict.fromkeys(entry["engine"] for entry in compaction["latency"]))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(11, 3.2 * len(batches)), layout="constrained")
        axes = figure.subplots(len(batches), 2, squeeze=False, width_ratios=(2, 1))
    for (left, right), batch in zip(axes, batches, strict=True):
        _times(left, compaction, engines, batch)
        _gains(right, compaction, engines, batch)
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(wrapped(record.name, WIDE), fontsize=10)
    return figure


def _times(axes: Axes, compaction: Compaction, engines: list[str], batch: int) -> None:
    crowded = len(engines) > CROWDED
    for place, network in enumerate(NETWORKS):
        found = [time_of(compaction, network, engine, batch)["forward"] for engine in engines]
        at = [index + (place - 1) * 0.27 for index in range(len(engines))]
        heights, spread = [part["median_ms"] for part in found], [part["iqr_ms"] / 2 for part in found]
        below = [min(pair) for pair in zip(heights, spread, strict=True)]  # no time is less than 0
        bars = axes.bar(at, heights, 0.25, yerr=[below, spread], label=network, color=COLOURS[network])
        if crowded and network == "masked":  # as high as the dense one
            continue
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axes.set_xticks(range(len(engines)), engines)
    if crowded:
        axes.tick_params(axis="x", rotation=20)
    axes.set_ylabel(f"forward, batch of {batch}, ms")
    axes.legend(frameon=False)


def _gains(axes: Axes, compaction: Compaction, engines: list[str], batch: int) -> None:
    fewer = fewer_operations(compaction)
    best = fastest(compaction, "dense", batch)
    times = [time_of(compaction, "compact", engine, batch)["forward"]["median_ms"] for engine in engines]
    gains = [gain(compaction, "compact", engine, batch) for engine in engines]
    least = [best.milliseconds / milliseconds for milliseconds in times]
    for values, above, colour, rival in (
        (gains, -0.2, COLOURS["compact"], "in the same engine"),
        (least, 0.2, "#89b6d4", f"in {best.engine}, its fastest"),
    ):
        at = [index + above for index in range(len(engines))]
        bars = axes.barh(at, values, 0.38, color=colour, label=f"dense {rival}")
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes.axvline(fewer, color="black", linestyle="--", linewidth=1)
    axes.annotate(f"fewer operations: {fewer:.2f}", (fewer, 1), xycoords=("data", "axes fraction"),
                  ha="right", va="bottom", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(engines)), engines)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(fewer, *gains, *least))
    axes.set_xlabel("dense / compact")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
