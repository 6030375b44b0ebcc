"""What the first masks of initialisers look like, and what became of them: a table and the figure of measurements.md.

python -m publish.draw_first_masks outputs/sweeps/<date>

Of every run: the share of the output channels that its first mask leaves no weight, the share of that mask which the
order of |weight| would have kept as well, the share of it that the final mask keeps, and the AP under attack beside
that of the dense network. The first mask is that of the initial scores with as many weights of every layer as the final
one has: where shares are learned, it is what the first scores say of the final shares.
"""

import argparse
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from torch import Tensor

from hydra_det.pruning.masks import top_k
from hydra_det.records.record import Record, read_record

COLOURS = (
    "#2a6f97",
    "#d4a24c",
    "#c1666b",
    "#8fbf8f",
    "#9a9a9a",
    "#7a5195",
    "#222222",
    "#f08a5d",
    "#1b7f5c",
    "#5fa8d3",
    "#8c564b",
    "#bcbd22",
)
MARKS = {"uniform": "o", "erk": "s", "learned": "D", "global": "^", "lamp": "v"}
TARGETS = {"assigned": "objects", "topk": "objectness", "loss": "loss"}


class First(NamedTuple):
    """A run."""

    order: str  # what ordered the scores, in words
    shares: str
    ratio: float
    trained: str  # what trained the scores
    starved: float  # output channels without a weight in the first mask
    like_weights: float  # of the first mask, what the largest weights of the layer are too
    left: float  # of the first mask, in the final one
    clean: float  # AP
    attacked: float
    kept: float  # AP attacked over that of the dense network; NaN, and not drawn, where that has none


def main() -> None:
    """Table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the runs")
    parser.add_argument("--output", type=Path, default=Path("docs/first_masks.png"))
    options = parser.parse_args()
    records = {path.parent: read_record(path) for path in sorted(options.folder.glob("*/record.json"))}
    if clean := [folder.name for folder, record in records.items() if record.metrics["pruned"]["attacked"] is None]:
        sys.exit(f"{clean[0]}: expected a run that was attacked, got AP of clean images alone; leave it out")
    runs = [first_of(folder, record) for folder, record in records.items()]
    if not runs:
        sys.exit(f"{options.folder}: expected a folder with folders of runs, got no record.json in any")
    print("\n".join(table(runs)))
    draw(runs).savefig(options.output, dpi=110)


def first_of(folder: Path, record: Record) -> First:
    """What a run says of its first mask."""
    stages = folder / "stages"
    initial, final = (load_file(stages / name / "weights.safetensors") for name in ("init_scores", "prune"))
    starved = channels = same = weights = left = 0
    for name in (key.removesuffix(".mask") for key in final if key.endswith(".mask")):
        last = final[f"{name}.mask"].bool()
        keep = int(last.sum())
        mask = top_k(initial[f"{name}.scores"].abs(), keep)
        largest = top_k(initial[f"{name}.weight"].abs(), keep)
        starved += int((~mask.flatten(1).any(1)).sum())
        channels += len(mask)
        same, left, weights = same + both(mask, largest), left + both(mask, last), weights + keep
    dense, pruned = (record.metrics[side] for side in ("dense", "pruned"))
    attacked, whole = precision(pruned["attacked"]), precision(dense["attacked"])
    return First(
        order=order_of(record.config["init"]),
        shares=record.sparsity["allocation"],
        ratio=record.sparsity["ratio_asked"],
        trained=trainer_of(record),
        starved=starved / channels,
        like_weights=same / weights,
        left=left / weights,
        clean=precision(pruned["clean"]),
        attacked=attacked,
        kept=attacked / whole if whole else math.nan,
    )


def precision(found: Any) -> float:
    """COCO's AP of a network in one condition."""
    return float(found["coco"]["map"])


def both(one: Tensor, other: Tensor) -> int:
    """How many weights two masks keep."""
    return int(torch.logical_and(one, other).sum())


def order_of(init: Mapping[str, Any]) -> str:
    """What orders the scores, in words."""
    name = str(init["_target_"]).rpartition(".")[2]
    if not name.endswith("DeepLift"):
        return name.lower()
    what = "attack" if init["reference"] == "clean" else TARGETS[init["target"]]
    words = [f"DeepLIFT of the {what}"]
    words += ["sizes of its own"] if init["sizes"] != "weights" else []
    words += ["by channels"] if init.get("normalise", "none") != "none" else []
    words += [f"blended by {init['blend']}"] if init.get("blend", "none") != "none" else []
    return ", ".join(words)


def trainer_of(record: Record) -> str:
    """What trained the scores, and for how long."""
    stage = record.config["stage"]["train_scores"]
    if not stage["epochs"]:
        return "nothing"
    optimizer = stage["optimizer"]
    return f"{optimizer['_target_'].rpartition('.')[2]} {optimizer['lr']:g}, {stage['epochs']} epochs"


def cells(runs: Iterable[First]) -> dict[tuple[str, float, str, str], list[First]]:
    """Runs that differ by seed alone."""
    found = defaultdict(list)
    for run in runs:
        found[run.shares, run.ratio, run.trained, run.order].append(run)
    return dict(found)


def table(runs: list[First]) -> Iterable[str]:
    """Lines of Markdown: means over the seeds, AP of every seed; the best attacked first."""
    heads = [
        "shares, removed",
        "scores trained by",
        "what orders them",
        "starved channels",
        "as \\|w\\|",
        "left at the end",
    ]
    yield f"| {' | '.join([*heads, 'AP clean', 'AP attacked'])} |"
    yield "|---" * 8 + "|"

    def rank(item: tuple[Any, list[First]]) -> Any:
        (shares, ratio, trained, _), own = item
        return shares, ratio, trained, -mean(own, "attacked")

    for (shares, ratio, trained, order), own in sorted(cells(runs).items(), key=rank):
        shown = [f"{mean(own, key):.1%}" for key in ("starved", "like_weights", "left")]
        shown += [
            f"{mean(own, key):.3f} ({' / '.join(f'{getattr(run, key):.3f}' for run in own)})"
            for key in ("clean", "attacked")
        ]
        yield f"| `{shares}`, {ratio:.0%} | {trained} | {order} | {' | '.join(shown)} |"


def mean(runs: Iterable[First], key: str) -> float:
    """Of a field."""
    return statistics.mean(getattr(run, key) for run in runs)


def draw(runs: list[First]) -> Figure:
    """AP under attack over what is known of the first mask; a mark a cell."""
    orders = sorted({run.order for run in runs})
    colours = {order: COLOURS[place % len(COLOURS)] for place, order in enumerate(orders)}
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = {
        "starved": "output channels that the first mask leaves no weight",
        "like_weights": "of the first mask, among the largest weights too",
        "left": "of the first mask, in the final one",
    }
    for axis, (key, words) in zip(figure.subplots(1, 3, sharey=True), panels.items(), strict=True):
        for (shares, _, trained, order), own in cells(runs).items():
            face = "none" if trained == "nothing" else colours[order]
            place = mean(own, key), mean(own, "kept")
            axis.plot(*place, MARKS[shares], color=colours[order], markerfacecolor=face, markersize=8)
        axis.set_xlabel(words)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("AP attacked, of the dense network's")
    for order, colour in colours.items():
        figure.axes[0].plot([], [], "o", color=colour, label=order)
    for shares in sorted({run.shares for run in runs}):
        figure.axes[0].plot([], [], MARKS[shares], color="#444444", label=f"shares: {shares}", markerfacecolor="none")
    figure.axes[0].plot([], [], "o", color="#444444", markerfacecolor="none", label="hollow: scores not trained")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
