"""What is said of a search that has ended: how close it came, and why nothing was found."""

from collections.abc import Collection

from hydra_det.records.objectives import Search, meets, say, say_goals
from hydra_det.sweeps.target import Target


def bracket(found: tuple[float, float] | None, target: Target, *, tried: Collection[float]) -> list[str]:
    """How close a search came, as notes for its reader.

    Args:
        found: a ratio that serves, and the nearest one beyond it that does not or is the end of the range; None: no
            ratio serves.
        target: of the search.
        tried: the ratios of its runs.
    """
    if found is None:
        return []
    good, bad = found
    if good == target.ends[1]:
        return [f"ratio {good:g} is the end of the range that was searched: target.lowest, target.highest"]
    state = "which does not" if bad in tried else "the end of the range"
    said = f"between ratio {good:g}, which serves, and {bad:g}, {state}, nothing was tried"
    if abs(bad - good) <= target.tolerance:
        return [said]
    return [f"{said}: {len(tried)} runs were not enough for target.tolerance={target.tolerance:g}"]


def unmet(result: Search, target: Target) -> str:
    """One line: what was asked, and the best on every side of it."""
    networks = [trial for trial in result["trials"] if trial["refused"] is None]
    asked = f"target: expected a network with {say_goals(target.goals)}"
    dense = f"the dense network has {say(_only(result['dense'], target))}"
    if len(result["trials"]) == 1:
        (trial,) = networks
        extreme = "least" if target.wants_largest else "most"
        return (
            f"{asked}, got {say(_only(trial['values'], target))} at ratio {trial['ratio']:g}, the {extreme} that "
            f"may be removed; {dense}; ask for less, train longer, or change target."
            f"{'lowest' if target.wants_largest else 'highest'}"
        )
    precise = max(
        (t for t in networks if meets(t["values"], target.steering)),
        key=lambda trial: trial["ratio"],
    )
    ceilings = {name: bound for name, bound in target.goals.items() if name not in target.steering}
    small = [trial for trial in networks if meets(trial["values"], ceilings)]
    if small:
        least = min(small, key=lambda trial: trial["ratio"])
        other = f"{say_goals(ceilings)} takes ratio {least['ratio']:g} with {say(_only(least['values'], target))}"
    else:
        most = max(networks, key=lambda trial: trial["ratio"])
        other = (
            f"no ratio reaches {say_goals(ceilings)}, the largest, {most['ratio']:g}, has "
            f"{say(_only(most['values'], target))}"
        )
    return (
        f"{asked}, got none: ratio {precise['ratio']:g} is the largest that keeps AP, with "
        f"{say(_only(precise['values'], target))}; {other}; {dense}"
    )


def _only(values: dict[str, float | None], target: Target) -> dict[str, float | None]:
    return {name: values[name] for name in target.goals}
