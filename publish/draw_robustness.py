"""Curves of several networks under the suites `epsilon` and `steps`: the figure of measurements.md.

python -m publish.draw_robustness clean=outputs/evaluations/<date>,outputs/evaluations/<date> hardened=...

A network is a name and the folders of its two evaluations, in any order.
"""

import argparse
import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_det.records.robustness import Robustness

AXES = ("epsilon", "steps")
LABELS = {"epsilon": "epsilon x 255, PGD-20", "steps": "steps of PGD at 8/255"}
COLOURS = ("#8c8c8c", "#2a6f97", "#d4a24c", "#c1666b")


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="name=folder,folder")
    parser.add_argument("--output", type=Path, default=Path("docs/robustness.png"))
    options = parser.parse_args()
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    places = dict(zip(AXES, figure.subplots(1, 2, sharey=True), strict=True))
    for (name, _, folders), colour in zip((text.partition("=") for text in options.networks), COLOURS, strict=False):
        for folder in folders.split(","):
            found: Robustness = json.loads((Path(folder) / "robustness.json").read_text())
            if found["suite"] not in AXES:
                sys.exit(f"{folder}: expected the suite {' or '.join(AXES)}, got {found['suite']}")
            draw(places[found["suite"]], found, name=name, colour=colour)
    places["epsilon"].set_ylabel("AP50")
    places["epsilon"].set_ylim(bottom=0)
    places["epsilon"].legend(frameon=False)
    figure.savefig(options.output, dpi=110)


def draw(axes: Axes, found: Robustness, *, name: str, colour: str) -> None:
    """A line through all strengths; clean dashed."""
    axis = found["suite"]
    attacks = [entry["attack"] for entry in found["attacks"]]
    at = [attack["epsilon"] * 255 if axis == "epsilon" else float(attack["steps"] or 0) for attack in attacks]
    values = [entry["metrics"]["coco"]["map_50"] or 0.0 for entry in found["attacks"]]
    axes.axhline(found["clean"]["coco"]["map_50"] or 0.0, color=colour, linestyle="--", linewidth=1)
    axes.plot(at, values, "-o", color=colour, markersize=4, label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(
        at, ["" if abs(value - 12.75) < 0.1 else f"{value:g}" for value in at]
    )  # its label would touch the next
    axes.minorticks_off()
    axes.set_xlabel(LABELS[axis])
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
