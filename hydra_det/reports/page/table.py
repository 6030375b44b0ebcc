"""A table of the page as plain values; what it looks like is the templates' business."""

from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell."""

    text: str
    below: str = ""  # smaller, under the text
    sure: bool = False  # marked
    words: bool = False  # a sentence, which wraps
    strong: bool = False


class Row(NamedTuple):
    """One row and its heading."""

    heading: str
    cells: list[Cell]
    colour: str = ""  # of the configuration in the figures
    words: bool = False  # the heading wraps


class Table(NamedTuple):
    """One table; the first heading stands over those of the rows."""

    headings: list[str]
    rows: list[Row]
    caption: str = ""


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> Table:
    """A table of words, the first of a row its heading."""
    return Table(
        [" ".join(heading.split()) for heading in headings],
        [Row(row[0], [Cell(text) for text in row[1:]]) for row in rows],
        caption,
    )
