"""How far the goal of this project was reached: a section of results.md."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from hydra_det.reports.statistics.cells import metric_values
from hydra_det.reports.statistics.significance import paired_interval
from publish.results_tables import PAPERS, as_markdown

OURS = ("scaled, weight, learned", "deeplift, weight, learned", "scaled, kernel, learned", "scaled, hybrid")
KEPT = {0.9: 0.95, 0.95: 0.85, 0.99: 0.5}  # of the dense network's AP under attack, by the share that is removed
AHEAD, AHEAD_AT = 0.02, (0.75, 0.95)  # AP under attack, beyond the best configuration of the paper; from, up to
FASTER = 3.0  # times
REACHED, MISSED, OPEN = "reached", "not reached", "open"
RULE = (
    "Mean and 95 % interval over the seeds. Reached: the whole interval lies at the goal or above it. Not reached: it "
    "lies below. Open: the goal is within it, or there is no interval, as of one seed or of seeds that agree to the "
    "last digit. No correction for many tests."
)


def goal_lines(frame: pd.DataFrame) -> Iterator[str]:
    """What was kept, how far ahead of the paper's best that is, and how fast, as Markdown; nothing without our runs.

    Args:
        frame: `records_frame` of one data set.
    """
    kept, ahead, faster = list(_kept(frame)), list(_ahead(frame)), list(_faster(frame))
    if not (kept or ahead or faster):
        return
    yield f"{RULE}\n"
    removed, least = (_listed(f"{100 * share:g}" for share in shares) for shares in (KEPT, KEPT.values()))
    yield from _part(
        f"With {removed} % of the weights removed, {least} % of the hardened dense network's AP under attack are left. "
        "The second row of each is of that network after it trained on for as long as the pruned one, with nothing "
        "removed:",
        kept,
    )
    low, high = (f"{100 * ratio:g}" for ratio in AHEAD_AT)
    yield from _part(
        f"With {low} to {high} % removed, AP under attack is {AHEAD:g} ahead of the best of the paper's configurations "
        "at that ratio in these runs:",
        ahead,
    )
    yield from _part(
        f"A single image takes a third of the time of the dense network (speed-up {FASTER:g}), decoding and NMS "
        "included, each network in the engine that computes it fastest in float32:",
        faster,
    )


def _part(words: str, rows: list[dict[str, str]]) -> Iterator[str]:
    if rows:
        yield f"{words}\n"
        yield as_markdown(pd.DataFrame(rows).fillna("-"))


def _kept(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    unpruned = frame[frame["configuration"].isin(PAPERS) & (frame["ratio"] == 0)]
    trained_on = _by_seed(unpruned, metric_values(unpruned, "map_attacked"))
    for name in OURS:
        of_dense, of_control = {}, {}
        for ratio, least in KEPT.items():
            own = _at(frame, name, ratio)
            attacked = _by_seed(own, metric_values(own, "map_attacked"))
            head = f"{100 * ratio:g} % removed"
            of_dense[head] = _cell(_by_seed(own, metric_values(own, "retention_attacked")), least, "{:.0%}")
            of_control[head] = _cell(attacked / trained_on.where(trained_on > 0), least, "{:.0%}")
        for words, cells in (("", of_dense), (", of the one trained on", of_control)):
            if any(cells.values()):
                yield {"": f"{name}{words}", **{head: text or "-" for head, text in cells.items()}}


def _ahead(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    papers = frame[frame["configuration"].isin(PAPERS)]
    rivals: dict[float, tuple[str, pd.Series]] = {}
    for ratio in sorted(ratio for ratio in papers["ratio"].unique() if AHEAD_AT[0] <= ratio <= AHEAD_AT[1]):
        at = papers[papers["ratio"] == ratio]
        attacked = metric_values(at, "map_attacked").groupby([at["configuration"], at["seed"]]).mean()
        table = attacked.unstack("seed").dropna(axis=1)
        if table.shape[1]:
            rival = str(table.mean(axis=1).idxmax())
            rivals[ratio] = rival, attacked.xs(rival)
    for name in OURS:
        cells = {}
        for ratio, (rival, values) in rivals.items():
            own = _at(frame, name, ratio)
            attacked = _by_seed(own, metric_values(own, "map_attacked"))
            cells[f"{100 * ratio:g} % removed, against {rival}"] = _cell(attacked - values, AHEAD, "{:+.3f}")
        if any(cells.values()):
            yield {"": name, **{head: text or "-" for head, text in cells.items()}}


def _faster(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    for name in OURS:
        cells = {}
        for ratio in KEPT:
            own = _at(frame, name, ratio)
            values = _by_seed(own, metric_values(own, "speed_up_fastest"))
            cells[f"{100 * ratio:g} % removed"] = _cell(values, FASTER, "{:.2f}")
        if any(cells.values()):
            yield {"": name, **{head: text or "-" for head, text in cells.items()}}


def _at(frame: pd.DataFrame, configuration: str, ratio: float) -> pd.DataFrame:
    return frame[(frame["configuration"] == configuration) & (frame["ratio"] == ratio)]


def _by_seed(own: pd.DataFrame, values: pd.Series) -> pd.Series:
    return values.dropna().groupby(own["seed"]).mean()


def _cell(values: pd.Series, least: float, form: str) -> str:
    """Of one value a seed: mean, interval, answer. Nothing of none."""
    found = values.dropna()
    if found.empty:
        return ""
    mean = form.format(found.mean())
    if len(found) < 2 or found.nunique() == 1:
        return f"{mean}: {OPEN}"
    low, high = paired_interval(np.zeros(len(found)), found)
    answer = REACHED if low >= least else MISSED if high < least else OPEN
    return f"{mean} [{form.format(low)}, {form.format(high)}]: {answer}"


def _listed(words: Iterable[str]) -> str:
    """a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}"
