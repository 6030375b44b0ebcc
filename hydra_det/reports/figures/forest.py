"""How much configurations differ, and how sure that is: a line a comparison and ratio."""

from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hydra_det.reports.figures.style import GREY, new_axes, wrapped
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.significance import LEVEL

SHOWN = ("map_attacked", "map_clean", "speed_up")
ROW = 0.21  # inches


class Kind(NamedTuple):
    """Of an interval."""

    label: str
    colour: str
    above: float  # the middle of the row, as a share of it


KINDS = {
    "welch": Kind("over seeds (Welch)", "#0072B2", 0.24),
    "paired": Kind("over pairs of one seed", "#D55E00", 0.0),
    "bootstrap": Kind("over test images (bootstrap)", GREY, -0.24),
}


class Face(NamedTuple):
    """Of the point of a difference."""

    label: str
    colour: str
    rare: bool = False  # in the legend only where it is drawn


FACES = {  # by whether p is below the level, and whether that is a hint only
    (True, False): Face(f"p < {LEVEL:g} after Holm", "black"),
    (True, True): Face(f"p < {LEVEL:g} after Holm (hint)", GREY, rare=True),
    (False, False): Face("not distinguishable from 0", "white"),
}


def forest_figures(comparisons: pd.DataFrame) -> dict[str, Figure]:
    """A figure for every metric of `SHOWN` that was compared: differences with their intervals of 95 %.

    Args:
        comparisons: of `compare`.
    """
    figures = {}
    for metric in SHOWN:
        found = comparisons[(comparisons["metric"] == metric) & comparisons["difference"].notna()]
        if len(found):
            figures[f"difference_{metric}"] = _forest(found, METRICS[metric].label)
    return figures


def _forest(found: pd.DataFrame, label: str) -> Figure:
    names = list(dict.fromkeys(found["comparison"]))
    heads = {name: wrapped(name) for name in names}
    lines = sum(head.count("\n") + 1.4 for head in heads.values())
    figure, axes = new_axes(height=1.6 + ROW * (len(found) + lines))
    ticks, place = [], 0.0
    used, faces = set(), set()
    for name in names:
        place -= heads[name].count("\n") / 2
        axes.annotate(heads[name], (0, place), xycoords=("axes fraction", "data"), fontsize=8, va="center",
                      weight="bold")  # fmt: skip
        place -= 1 + heads[name].count("\n") / 2
        for row in found[found["comparison"] == name].to_dict("records"):
            for key, kind in KINDS.items():
                low, high = row[f"{key}_low"], row[f"{key}_high"]
                if pd.notna(low):
                    axes.plot((low, high), (place + kind.above, place + kind.above), color=kind.colour, lw=1.6,
                              solid_capstyle="butt", label=f"{name} {row['ratio']:g} {key}")  # fmt: skip
                    used.add(key)
            face = FACES[row["p_holm"] < LEVEL, bool(row["hint"])]
            faces.add(face)
            axes.plot(row["difference"], place, "o", ms=4.5, color="black", mfc=face.colour, mew=0.9,
                      label=f"{name} {row['ratio']:g}", zorder=3)  # fmt: skip
            ticks.append((place, f"{100 * row['ratio']:g} %"))
            place -= 1
        place -= 0.4
    axes.axvline(0, color="black", lw=0.8, ls=":", zorder=0)
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place + 0.4, 0.8)
    axes.set_xlabel(f"{label}: second - first\n(to the right the second one is higher)")
    handles = [
        Line2D([], [], color=kind.colour, lw=1.6, label=kind.label) for key, kind in KINDS.items() if key in used
    ]
    for face in FACES.values():
        if face in faces or not face.rare:
            handles.append(Line2D([], [], ls="", marker="o", ms=4.5, color="black", mfc=face.colour,
                                  label=face.label))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
