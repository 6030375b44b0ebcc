"""The figures of the paper, as it printed them; SOURCE.md says where they come from."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

FOLDER = Path(__file__).parent


class Cell(NamedTuple):
    """A configuration of the paper."""

    granularity: str  # "weight" is what it calls unstructured, "kernel" structured
    init: str  # "scaled" is what it calls HYDRA, "deeplift_paper" what it calls DeepLIFT
    greyscale: int = 0

    @property
    def configuration(self) -> str:
        """Its name here, and everywhere in a report: that of our own runs where all else is the default."""
        return ", ".join([self.init, self.granularity, *(["greyscale"] if self.greyscale else [])])


# Its five configurations.
CONFIGURATIONS = {
    cell.configuration: cell
    for cell in (
        Cell("weight", "deeplift_paper"),
        Cell("kernel", "deeplift_paper"),
        Cell("weight", "scaled"),
        Cell("kernel", "scaled"),
        Cell("weight", "deeplift_paper", 1),
    )
}
# What its tables I to IV compare, by what they call it.
COMPARISONS = {
    "DeepLIFT vs. HYDRA (Unstructured)": ("deeplift_paper, weight", "scaled, weight"),
    "DeepLIFT vs. HYDRA (Structured)": ("deeplift_paper, kernel", "scaled, kernel"),
    "Unstructured vs. Structured (DeepLIFT)": ("deeplift_paper, weight", "deeplift_paper, kernel"),
    "Unstructured vs. Structured (HYDRA)": ("scaled, weight", "scaled, kernel"),
    "Greyscale vs Colour (Unstructured DeepLIFT)": ("deeplift_paper, weight, greyscale", "deeplift_paper, weight"),
}
WORDS = "it calls scaled HYDRA, weight unstructured, kernel structured"


def printed_name(first: str, second: str) -> str | None:
    """What the paper calls a comparison of two of our configurations; None where it does not make it.

    Example:
        >>> printed_name("scaled, weight, free", "scaled, kernel, free")
        'Unstructured vs. Structured (HYDRA)'
    """
    for name, (one, two) in COMPARISONS.items():
        beside = first.removeprefix(one)  # what both have besides, as another hardening
        if (first, second) == (one + beside, two + beside) and (not beside or beside.startswith(", ")):
            return name
    return None


def paper_results() -> pd.DataFrame:
    """450 rows: granularity, init, greyscale, prune_ratio, run, map_attacked, time_ms."""
    return pd.read_csv(FOLDER / "results.csv").replace({"init": {"deeplift": "deeplift_paper"}})


def printed_p_values() -> pd.DataFrame:
    """90 rows: table, metric, comparison, prune_ratio, p_value."""
    return pd.read_csv(FOLDER / "pvalues.csv")
