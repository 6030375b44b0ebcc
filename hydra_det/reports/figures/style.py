"""How the figures of a report look: one colour and mark a configuration, small axes, a file as PNG and as SVG."""

import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from hydra_det.reports.paper import CONFIGURATIONS, Cell

DPI = 150
SIZE = (5.2, 3.9)  # inches: at the width of a telephone the letters are still read
GREY = "#8c8c8c"
# Okabe and Ito's colours, told apart by people who are colour blind; without their yellow, which white paper swallows.
PALETTE = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#000000", "#009E73", "#CC79A7", GREY)
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "report", "svg.fonttype": "path", "font.size": 9, "axes.grid": False}


class Look(NamedTuple):
    """Of a configuration, in every figure."""

    colour: str
    mark: str
    line: str = "-"


def looks(configurations: Iterable[str]) -> dict[str, Look]:
    """The look of every configuration. Those of the paper have theirs always; the others share out the rest by name.

    Further ones than there are colours get other marks and lines.
    """
    known = [cell.configuration for cell in _paper_order()]
    names = set(configurations)
    found = {name: Look(PALETTE[place], MARKS[place]) for place, name in enumerate(known) if name in names}
    free = [place for place in range(len(PALETTE)) if place >= len(known) or known[place] not in names]
    for index, name in enumerate(sorted(names - found.keys())):
        lap, turn = divmod(index, len(free))
        line = LINES[lap // len(MARKS) % len(LINES)]
        found[name] = Look(PALETTE[free[turn]], MARKS[(free[turn] + lap) % len(MARKS)], line)
    return found


def new_axes(*, width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, inches, without the two lines that say nothing."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def add_legend(figure: Figure, axes: Axes) -> None:
    """The names below the axes, where they hide no point."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, labels)) > 34 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def rendered(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Every figure as `<name>.png` and `<name>.svg`; the same figure gives the same bytes."""
    files = {}
    for name, figure in figures.items():
        # A name may hold dollars; between two of them Matplotlib would read mathematics, and fail.
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            buffer = io.BytesIO()
            with matplotlib.rc_context(SETTINGS):
                figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def _paper_order() -> list[Cell]:
    """Its configurations, so that neighbours in the palette share their scores: two blues, two reds, and black."""
    cells = list(CONFIGURATIONS.values())
    return sorted(cells, key=lambda cell: (cell.greyscale, cell.init, cell.granularity == "kernel"))
