"""Bisection of the pruning ratio: where each try is a run, and costs as much."""

import math
from collections.abc import Callable


def bisect(
    serves: Callable[[float], bool], *, start: float, end: float, tolerance: float, trials: int
) -> tuple[float, float] | None:
    """The last ratio on the way from `start` to `end` that serves, if all do before it and none behind it.

    `start` comes first: where it does not serve, nothing is assumed to. `end` comes last, and only if all others
    served: it seldom does, and would cost a run. Whatever `serves` answers, the ratio that is found was tried and
    serves, and none of those tried behind it did.

    Args:
        serves: runs a trial.
        start: where to begin.
        end: above or below.
        tolerance: of the distance between what is found and the next ratio that does not serve.
        trials: calls of `serves` at most.

    Returns:
        The ratio that was found and the next one that does not serve, or is not known to; None: `start` does not serve.
    """
    if not serves(start):
        return None
    good, bad = start, end
    for _ in range(trials - 1):
        if abs(bad - good) <= tolerance:
            if bad == end and serves(end):
                good = end
            break
        middle = between(good, bad, tolerance)
        if serves(middle):
            good = middle
        else:
            bad = middle
    return good, bad


def between(first: float, second: float, tolerance: float) -> float:
    """The middle, without digits that the tolerance makes meaningless."""
    return round((first + second) / 2, max(3, math.ceil(-math.log10(tolerance)) + 1))
