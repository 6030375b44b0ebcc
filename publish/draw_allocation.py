"""Allocations beside `uniform` at equal ratio, paired by seed: a table and the figure of measurements.md.

python -m publish.draw_allocation outputs/sweeps/<date> outputs/sweeps/<date>

A pair is two runs of one seed, which share data order and pretrained network. Differences come with their 95 %
confidence interval from Student's t; one without 0 is a hint where so few seeds allow no exact p below 0.05.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hydra_det.records.record import Record
from hydra_det.records.table import load_records
from publish.paired_cells import difference, mean_of

BASELINE = "uniform"
COLOURS = {BASELINE: "#8c8c8c", "erk": "#d4a24c", "learned": "#2a6f97", "lamp": "#6b8f71", "global": "#c1666b"}
CONDITIONS = ("clean", "attacked")

Cells = dict[tuple[str, float], dict[int, float]]  # (allocation, ratio) -> seed -> AP50


def main() -> None:
    """Table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with the runs")
    parser.add_argument("--output", type=Path, default=Path("docs/allocation.png"))
    options = parser.parse_args()
    records = [record for folder in options.folders for record in load_records(folder)[0].values()]
    if problem := no_pairs(records):
        sys.exit(problem)
    cells = {condition: cells_of(records, condition) for condition in CONDITIONS}
    ratios = sorted({ratio for _, ratio in cells["clean"]})
    print(
        f"| removed | allocation | seeds | AP50 clean | minus {BASELINE} | AP50 attacked | minus {BASELINE} |\n"
        + "|---" * 7
        + "|"
    )
    for ratio in ratios:
        for allocation in [name for name in COLOURS if (name, ratio) in cells["clean"]]:
            parts = [part for found in cells.values() for part in _cell(found, allocation, ratio)]
            print(f"| {ratio:.0%} | `{allocation}` | {len(cells['clean'][allocation, ratio])} | {' | '.join(parts)} |")
    draw(cells, ratios).savefig(options.output, dpi=110)


def no_pairs(records: list[Record]) -> str | None:
    """Why records cannot be paired, in one line; None if they can."""
    seen: dict[tuple[Any, ...], str] = {}
    pretrained: dict[int, str] = {}
    kinds = set()
    for record in records:
        sparsity, first = record.sparsity, record.stages[0]["fingerprint"]
        kinds.add((sparsity["granularity"], sparsity["budget"], record.dataset["fingerprint"]))
        if record.metrics["pruned"]["attacked"] is None:
            return f"{record.name}: expected a run that was attacked, got one that was not"
        if pretrained.setdefault(record.seed, first) != first:
            return f"{record.name}: expected one pretrained network for seed {record.seed}, got two"
        cell = sparsity["allocation"], sparsity["ratio_asked"], record.seed
        if cell in seen:
            return f"{record.name}: expected one run for {', '.join(map(str, cell))}, got two; leave one folder out"
        seen[cell] = record.name
    if len(kinds) != 1:
        return f"expected runs of one granularity, budget and data set, got {len(kinds)}"
    return None


def cells_of(records: list[Record], condition: str) -> Cells:
    """AP50 of the pruned networks by cell and seed."""
    cells: Cells = defaultdict(dict)
    for record in records:
        protocols = record.metrics["pruned"][condition]  # type: ignore[literal-required]
        cell = record.sparsity["allocation"], record.sparsity["ratio_asked"]
        cells[cell][record.seed] = float(protocols["coco"]["map_50"])
    return dict(cells)


def draw(cells: dict[str, Cells], ratios: list[float]) -> Figure:
    """Points and means of every allocation by ratio, clean and attacked."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axis, condition in zip(figure.subplots(1, 2), CONDITIONS, strict=True):
        for offset, (allocation, colour) in enumerate(COLOURS.items()):
            found = [(place, cells[condition].get((allocation, ratio))) for place, ratio in enumerate(ratios)]
            points = [(place + (offset - 1) * 0.12, list(values.values())) for place, values in found if values]
            for x, values in points:
                axis.plot([x] * len(values), values, "o", color=colour, alpha=0.4, markersize=5)
            if points:
                means = [statistics.mean(values) for _, values in points]
                axis.plot([x for x, _ in points], means, "-_", color=colour, markersize=14, label=allocation)
        axis.set_xticks(range(len(ratios)), [f"{ratio:.0%}" for ratio in ratios])
        axis.set_xlabel("weights removed")
        axis.set_ylabel(f"AP50 {condition}")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


def _cell(cells: Cells, allocation: str, ratio: float) -> tuple[str, str]:
    """Mean over seeds, and the paired difference."""
    found = cells[allocation, ratio]
    other = {} if allocation == BASELINE else cells.get((BASELINE, ratio), {})
    return mean_of(found), difference(found, other)


if __name__ == "__main__":
    main()
