"""How cost grows, an axis a panel, with the straight line of linear growth beside it: the figure of planning.md.

python -m publish.draw_scaling docs/scaling.json
python -m publish.draw_scaling docs/scaling.json --output scaling.png

The file is that of `python -m benchmarks.scaling --save`. Points are medians, bars reach from the lower to the upper
quartile. Numbers of workers, processes and jobs are drawn on plain axes; there the dashed line is what n of them would
take if nothing were lost.
"""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

COLOUR, BESIDE = "#2a6f97", "#b0b0b0"
COLUMNS = 4  # 3 for few axes


def main() -> None:
    """The picture."""
    options = _options()
    draw(json.loads(options.file.read_text())).savefig(options.output, dpi=110)


def draw(axes: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel for every axis."""
    columns = COLUMNS if len(axes) > 6 else 3
    rows = math.ceil(len(axes) / columns)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, found in zip(panels, axes.values(), strict=False):
        _panel(panel, found)
    for panel in panels[len(axes) :]:
        panel.set_axis_off()
    return figure


def _panel(panel: Axes, found: Mapping[str, Any]) -> None:
    values = [point["value"] for point in found["points"]]
    seconds = [point["median"] for point in found["points"]]
    below = [max(0.0, point["median"] - point["low"]) for point in found["points"]]
    above = [max(0.0, point["high"] - point["median"]) for point in found["points"]]
    grows = found["exponent"] is not None
    if grows:
        beside = [seconds[0] * value / values[0] for value in values]
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_title(f"exponent {found['exponent']:.2f}", fontsize=9)
    else:
        beside = [seconds[0] / max(1.0, value) for value in values]
        # Without a free core nothing can gain by being done twice at once.
        panel.set_title(f"load {found['load']:.1f} on {found['cores']} cores", fontsize=9)
    panel.plot(values, beside, color=BESIDE, linestyle="--", linewidth=1)
    panel.errorbar(values, seconds, yerr=[below, above], color=COLOUR, marker="o", markersize=4, capsize=2)
    panel.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.tick_params(axis="y", labelsize=8)
    if not grows:
        panel.set_ylim(bottom=0)
    panel.set_xlabel(found["label"], fontsize=8)
    panel.set_ylabel(f"{found['cost']}, s", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/scaling.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
