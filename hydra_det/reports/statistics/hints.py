"""Findings that are hints only: of so few seeds that no exact test could show them, or decided on after looking.

A t test of five seeds may have any p, as it takes the differences for normal. Without that an exact test of pairs is
left, which flips their signs; where all five seeds agree, its p is 2 / 2^5, and never below the level.
"""

from collections.abc import Iterable

from hydra_det.reports.statistics.significance import LEVEL, least_p_of_groups, least_p_of_pairs

LATE = "decided on after looking"
MARK = "(hint)"


def hint_of_pairs(seeds: int, *, late: bool) -> str:
    """Why a finding of so many seeds, compared in pairs, is a hint; empty: it is none.

    Args:
        seeds: with a run on both sides.
        late: whether it was decided on after looking at results.

    Example:
        >>> [hint_of_pairs(seeds, late=False) for seeds in (5, 6)]
        ['with 5 seeds no exact p below 0.0625 is possible', '']
    """
    return _hint(least_p_of_pairs(seeds), f"{seeds} seeds", late=late)


def hint_of_groups(first: int, second: int, *, late: bool) -> str:
    """The same for so many seeds on either side that are no pairs."""
    return _hint(least_p_of_groups(first, second), f"{first} and {second} seeds", late=late)


def marked(text: str, hint: str) -> str:
    """An answer or a p as people read it."""
    return f"{text} {MARK}" if hint else text


def hints_in_words(hints: Iterable[str]) -> str:
    """The sentence that stands under a table; empty where none of its rows is a hint.

    Args:
        hints: of its rows; empty ones are no hints.
    """
    reasons = dict.fromkeys(reason for hint in hints for reason in hint.split("; ") if reason)
    return f"A hint: {', or '.join(sorted(reasons, key=lambda reason: reason != LATE))}." if reasons else ""


def _hint(least: float, seeds: str, *, late: bool) -> str:
    few = f"with {seeds} no exact p below {least:.3g} is possible" if least >= LEVEL else ""
    return "; ".join(filter(None, (LATE if late else "", few)))
