"""How the figures of a report look: one colour and mark a configuration, small axes, a file as PNG and as SVG."""

import functools
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from hydra_det.reports.paper import CONFIGURATIONS, Cell

DPI = 150
SIZE = (5.2, 3.9)  # inches: at the width of a telephone the letters are still read
LEGEND_LETTERS = 70  # of a line of a legend, as wide as the figure
LETTER = 4.5  # points of a letter of size 8, the mean of usual words
MINIMUM = 10  # letters of a line
ONE_COLUMN = 34  # letters of a name beside which there is no room for another one
LEGEND_LINE = 0.15  # inches
USUAL_ROWS = 3  # of a legend that `SIZE` has room for
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


@functools.cache  # the same names stand in every figure
def wrapped(text: str, width: int = LEGEND_LETTERS) -> str:
    """A text in lines of so many letters at most, fewer of wide ones; what is typed may be one word of any length."""
    lines = [text]
    for letters in range(width, MINIMUM, -4):
        lines = textwrap.wrap(text, letters, break_on_hyphens=False) or [text]
        if max(map(_points, lines)) <= LETTER * width:
            break
    return "\n".join(lines)


def _points(line: str) -> float:
    """How wide a line is: to its last point, also one that steers a curve, so by less than a letter too wide."""
    return float(TextPath((0, 0), line.replace("$", "S"), size=8).vertices[:, 0].max()) if line.strip() else 0.0


def add_legend(figure: Figure, axes: Axes) -> None:
    """The names below the axes, where they hide no point."""
    add_key(figure, *axes.get_legend_handles_labels())


def add_key(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the axes; the figure grows by what it takes, so that the axes keep their size."""
    if not handles:
        return
    lines = [wrapped(label) for label in labels]
    columns = 1 if max(map(len, labels)) > ONE_COLUMN else 2
    rows = sum(line.count("\n") + 1 for line in lines) / columns
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(0, rows - USUAL_ROWS))
    figure.legend(handles, lines, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


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
