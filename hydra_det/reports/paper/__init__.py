"""The figures of the paper, as it printed them; SOURCE.md says where they come from."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

FOLDER = Path(__file__).parent


class Cell(NamedTuple):
    """A configuration of the paper."""

    granularity: str  # "weight" is its unstructured mask, "kernel" its structured one
    init: str
    greyscale: int = 0

    @property
    def configuration(self) -> str:
        """How our records name it, where all else is the default."""
        return ", ".join([self.init, self.granularity, *(["greyscale"] if self.greyscale else [])])


# Its five configurations, by the names in its tables and figures.
CONFIGURATIONS = {
    "DeepLIFT, unstructured": Cell("weight", "deeplift"),
    "DeepLIFT, structured": Cell("kernel", "deeplift"),
    "HYDRA, unstructured": Cell("weight", "scaled"),
    "HYDRA, structured": Cell("kernel", "scaled"),
    "DeepLIFT, unstructured, greyscale": Cell("weight", "deeplift", 1),
}
# What its tables I to IV compare.
COMPARISONS = {
    "DeepLIFT vs. HYDRA (Unstructured)": ("DeepLIFT, unstructured", "HYDRA, unstructured"),
    "DeepLIFT vs. HYDRA (Structured)": ("DeepLIFT, structured", "HYDRA, structured"),
    "Unstructured vs. Structured (DeepLIFT)": ("DeepLIFT, unstructured", "DeepLIFT, structured"),
    "Unstructured vs. Structured (HYDRA)": ("HYDRA, unstructured", "HYDRA, structured"),
    "Greyscale vs Colour (Unstructured DeepLIFT)": ("DeepLIFT, unstructured, greyscale", "DeepLIFT, unstructured"),
}


def paper_results() -> pd.DataFrame:
    """450 rows: granularity, init, greyscale, prune_ratio, run, map_attacked, time_ms."""
    return pd.read_csv(FOLDER / "results.csv")


def printed_p_values() -> pd.DataFrame:
    """90 rows: table, metric, comparison, prune_ratio, p_value."""
    return pd.read_csv(FOLDER / "pvalues.csv")
