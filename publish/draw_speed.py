"""AP against time of the networks of several runs, each made small by compact.py: the figure of measurements.md.

python -m publish.draw_speed outputs/sweeps/<date> outputs/sweeps/<date>
python -m publish.draw_speed outputs/runs --engine onnxruntime --output speed.png

A point is a run: forward of one image in one engine, after compaction, against AP50 clean and attacked. Lines join
the runs of one granularity and allocation. The table goes to the terminal as Markdown.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from hydra_det.records.engine_times import time_of
from hydra_det.records.record import Record
from hydra_det.records.table import load_records
from hydra_det.reports.statistics.gains import fewer_operations, gain

COLOURS = {
    "weight": "#c1666b",
    "kernel": "#d4a24c",
    "hybrid": "#6b8f71",
    "filter_group": "#2a6f97",
    "filter_group, erk": "#7b4b94",
}


def main() -> None:
    """Table and picture."""
    options = _options()
    records = [record for folder in options.folders for record in load_records(folder)[0].values() if record.compaction]
    records.sort(key=lambda record: (_kind(record), record.sparsity["ratio_asked"]))
    print(
        "| masks | removed | parameters left | FLOPs, dense / compact | dense, ms | masked, ms | compact, ms | "
        "dense / compact | AP50 clean | AP50 attacked |\n" + "|---" * 10 + "|"
    )
    for record in records:
        print(_row(record, options.engine))
    draw(records, options.engine).savefig(options.output, dpi=110)


def draw(records: list[Record], engine: str) -> Figure:
    """AP50 clean and attacked against milliseconds, a line for every granularity."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axis, condition in zip(figure.subplots(1, 2), ("clean", "attacked"), strict=True):
        for kind, colour in COLOURS.items():
            chosen = [record for record in records if _kind(record) == kind]
            if not chosen:
                continue
            times = [_milliseconds(record, "compact", engine) for record in chosen]
            values = [_ap50(record, condition) for record in chosen]
            axis.plot(times, values, marker="o", label=kind, color=colour)
            for record, x, y in zip(chosen, times, values, strict=True):
                text = f"{record.sparsity['ratio_asked']:.0%}"
                axis.annotate(text, (x, y), (4, 4), textcoords="offset points", fontsize=7, color=colour)
        axis.set_xlabel(f"forward of the compact network, one image, {engine}, ms")
        axis.set_ylabel(f"AP50 {condition}")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


def _kind(record: Record) -> str:
    """Granularity, and the allocation where it is not the default."""
    granularity, allocation = record.sparsity["granularity"], record.sparsity["allocation"]
    return granularity if allocation == "uniform" else f"{granularity}, {allocation}"


def _row(record: Record, engine: str) -> str:
    assert record.compaction is not None
    dense, masked, small = (_milliseconds(record, name, engine) for name in ("dense", "masked", "compact"))
    cells = [
        _kind(record),
        f"{record.sparsity['ratio_asked']:.0%}",
        f"{record.compaction['sizes']['compact']['parameters']:,}",
        f"{fewer_operations(record.compaction):.2f}",
        *(f"{milliseconds:.1f}" for milliseconds in (dense, masked, small)),
        f"{gain(record.compaction, 'compact', engine, 1):.2f}",
        *(f"{_ap50(record, condition):.3f}" for condition in ("clean", "attacked")),
    ]
    return f"| {' | '.join(cells)} |"


def _milliseconds(record: Record, network: str, engine: str) -> float:
    assert record.compaction is not None
    return time_of(record.compaction, network, engine, 1)["forward"]["median_ms"]


def _ap50(record: Record, condition: str) -> float:
    protocols = record.metrics["pruned"][condition]  # type: ignore[literal-required]
    return float(protocols["coco"]["map_50"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with the runs")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--output", type=Path, default=Path("docs/speed.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
