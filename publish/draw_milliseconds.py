"""AP against milliseconds in the sparse engine by how a ratio is shared out, paired by seed: for measurements.md.

python -m publish.draw_milliseconds outputs/sweeps/<date>

Every run was given to `compact.py engines=[openvino,sparse]`. Runs that were meant to take one time stand together: a
group for each ratio of `prune.budget=latency`, and with it the runs of another budget whose mean time is nearest. The
table goes to the terminal as Markdown.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from hydra_det.records.engine_times import fastest, time_of
from hydra_det.records.record import Record
from hydra_det.records.table import load_records
from hydra_det.reports.statistics.gains import compaction_of
from publish.paired_cells import difference, mean_of

ENGINE = "sparse"
BASELINE = "learned by time"
COLOURS = {"uniform by time": "#8c8c8c", "erk by time": "#d4a24c", BASELINE: "#2a6f97", "learned by weights": "#c1666b"}
CONDITIONS = ("clean", "attacked")


class Point(NamedTuple):
    """A run."""

    kind: str  # a key of `COLOURS`
    ratio: float  # asked, of its budget
    seed: int
    removed: float  # share of the weights
    milliseconds: float
    times: float  # as fast as the dense network in its fastest float32 engine
    ap: dict[str, float]  # by condition


Cell = tuple[str, float]  # kind and ratio


def main() -> None:
    """Table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with the runs")
    parser.add_argument("--output", type=Path, default=Path("docs/milliseconds.png"))
    options = parser.parse_args()
    records = [record for folder in options.folders for record in load_records(folder)[0].values()]
    if problem := no_table(records):
        sys.exit(problem)
    points = [point_of(record) for record in records]
    print("\n".join(table(points)))
    draw(points).savefig(options.output, dpi=110)


def no_table(records: list[Record]) -> str | None:
    """Why records make no table, in one line; None if they do."""
    seen: set[tuple[str, float, int]] = set()
    for record in records:
        engines = {entry["engine"] for entry in record.compaction["latency"]} if record.compaction else set()
        if ENGINE not in engines:
            return (
                f"{record.name}: expected a run that compact.py has timed in {ENGINE}, got {sorted(engines) or 'none'}"
            )
        cell = kind_of(record), record.sparsity["ratio_asked"], record.seed
        if cell[0] not in COLOURS:
            return f"{record.name}: expected shares that are {', '.join(COLOURS)}, got {cell[0]}"
        if cell in seen:
            return f"{record.name}: expected one run for {', '.join(map(str, cell))}, got two; leave one folder out"
        seen.add(cell)
    return (
        None if any(kind == BASELINE for kind, *_ in seen) else f"expected runs whose shares are {BASELINE}, got none"
    )


def kind_of(record: Record) -> str:
    """How the ratio was shared out, and of what."""
    budget = record.sparsity["budget"]
    return f"{record.sparsity['allocation']} by { ({'latency': 'time', 'parameters': 'weights'}.get(budget, budget)) }"


def point_of(record: Record) -> Point:
    """What a run says of AP and of time, batches of one image."""
    compaction, sparsity = compaction_of(record), record.sparsity
    milliseconds = time_of(compaction, "compact", ENGINE, 1)["forward"]["median_ms"]
    return Point(
        kind=kind_of(record),
        ratio=sparsity["ratio_asked"],
        seed=record.seed,
        removed=sparsity["pruned"] / sparsity["total"],
        milliseconds=milliseconds,
        times=fastest(compaction, "dense", 1).milliseconds / milliseconds,
        ap={name: float(record.metrics["pruned"][name]["coco"]["map"]) for name in CONDITIONS},  # type: ignore[literal-required]
    )


def groups(points: Iterable[Point]) -> list[list[Cell]]:
    """Cells that take one time, the slowest group first, each in the order of `COLOURS`."""
    times: dict[Cell, list[float]] = defaultdict(list)
    for point in points:
        times[point.kind, point.ratio].append(point.milliseconds)
    means = {cell: statistics.mean(values) for cell, values in times.items()}
    anchors = {cell: mean for cell, mean in means.items() if cell[0] == BASELINE}
    found: dict[Cell, list[Cell]] = {cell: [] for cell in sorted(anchors, key=lambda cell: -anchors[cell])}
    for cell, mean in means.items():
        same = [anchor for anchor in anchors if anchor[1] == cell[1] and cell[0].endswith("by time")]
        nearest = same or sorted(anchors, key=lambda anchor: abs(anchors[anchor] - mean))
        if nearest:
            found[nearest[0]].append(cell)
    return [sorted(cells, key=lambda cell: list(COLOURS).index(cell[0])) for cells in found.values()]


def table(points: list[Point]) -> Iterable[str]:
    """Lines of Markdown."""
    yield (
        f"| shares | ratio | weights removed | ms | times as fast | AP clean | {BASELINE} minus this | "
        f"AP attacked | {BASELINE} minus this |"
    )
    yield "|---" * 9 + "|"
    by_cell: dict[Cell, dict[int, Point]] = defaultdict(dict)
    for point in points:
        by_cell[point.kind, point.ratio][point.seed] = point
    for group in groups(points):
        baseline = next(by_cell[cell] for cell in group if cell[0] == BASELINE)
        for cell in group:
            own = by_cell[cell]
            parts = []
            for name in CONDITIONS:
                values, others = ({seed: point.ap[name] for seed, point in of.items()} for of in (own, baseline))
                parts += [mean_of(values), "" if own is baseline else difference(others, values)]
            removed, milliseconds, times = (
                statistics.mean(getattr(point, key) for point in own.values())
                for key in ("removed", "milliseconds", "times")
            )
            yield (
                f"| {cell[0]} | {cell[1]:g} | {removed:.1%} | {milliseconds:.2f} | {times:.2f} | {' | '.join(parts)} |"
            )


def draw(points: list[Point]) -> Figure:
    """Runs and means of every way of sharing, AP against milliseconds, clean and attacked."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axis, condition in zip(figure.subplots(1, 2), CONDITIONS, strict=True):
        for kind, colour in COLOURS.items():
            own = [point for point in points if point.kind == kind]
            axis.plot([p.milliseconds for p in own], [p.ap[condition] for p in own], "o", color=colour, alpha=0.35)
            means = [
                (statistics.mean(p.milliseconds for p in at), statistics.mean(p.ap[condition] for p in at))
                for ratio in sorted({point.ratio for point in own})
                if (at := [point for point in own if point.ratio == ratio])
            ]
            if means:
                axis.plot(*zip(*means, strict=True), "-o", color=colour, label=kind)
        axis.set_xlabel(f"forward of one image in {ENGINE}, ms")
        axis.set_ylabel(f"AP {condition}")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
