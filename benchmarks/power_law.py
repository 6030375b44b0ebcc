"""How a cost grows: the exponent of a power law through measured points."""

from collections.abc import Sequence

import numpy as np


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """`b` of `cost = a * size ** b`, by least squares on the logarithms; 1 means that twice as much costs twice.

    Example:
        >>> round(exponent([1, 2, 4], [5, 20, 80]), 6)
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
