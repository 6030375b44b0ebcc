"""What runs answer to `claims`: yes, no, undecided, or not tested.

For every seed the mean over a claim's comparisons and ratios, then a t test of the seeds' means. So that every seed is
the mean of the same things, a comparison at a ratio counts only where every seed has both of its runs.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hydra_det.reports.late_decisions import LateDecision, rests_on_one
from hydra_det.reports.runs import failed_runs
from hydra_det.reports.statistics import significance
from hydra_det.reports.statistics.blocks import ROOM, Block, blocks_of, fixed_set, that_find_something
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.claims import (
    BEST,
    CLAIMS,
    EFFECT,
    IMPROVEMENTS,
    SPEED,
    Claim,
    Pair,
    join_notes,
    pairs_of,
)
from hydra_det.reports.statistics.hints import LATE, hint_of_pairs, marked
from hydra_det.reports.statistics.significance import LEVEL

YES, NO, UNDECIDED, NOT_TESTED = "yes", "no", "undecided", "not tested"
AS_ABOVE = "as above"  # the same runs answer a claim before
ANSWER_COLUMNS = (
    *("family", "claim", "metric", "comparisons", "ratios", "n", "mean_ahead", "mean_behind"),
    *("effect", "low", "high", "d_z", "d_z_low", "d_z_high"),
    *("p", "p_holm", "answer", "hint", "relative", "smallest", "detectable", "failed", "note"),
)
NUMBERS = ("mean_ahead", "mean_behind", "effect", "low", "high", "d_z", "d_z_low", "d_z_high", "p", "detectable")
RULE = (
    "Means: first of the side that the claim puts ahead, then of the other side, over comparisons, ratios and seeds; "
    "times have geometric means. Effect: how far the first side is ahead, as a difference, for times as a quotient. "
    "p: paired by seed. Yes: p after Holm's correction is below 0.05, in the claimed direction. No: it is below 0.05 "
    f"in the other direction, or the whole interval is below what matters, {EFFECT:g} AP or "
    f"{100 * math.expm1(SPEED):.0f} % of time. Undecided: everything else. So the interval of one test may exclude 0 "
    "while Holm's correction leaves the answer undecided. Where the other side was chosen for being best in these "
    "runs, no becomes undecided. Not tested: there are no such runs, or only one seed. Where a claim allows a small "
    "loss, p is against that loss, and a no needs the whole interval below it. Ratios at which both sides find nearly "
    f"nothing (AP below {ROOM:g}) do not count. If that is so at all ratios, neither a small loss nor a small "
    "difference is an answer, and a difference that the test shows is marked as near 0. Could find: the effect that a "
    "test of these seeds finds in four of five cases. Neither the interval nor that effect is corrected for many tests."
)
SMALL = "interval below what matters"
BARE = "the AP of both is near 0"
TIMES = "\N{MULTIPLICATION SIGN} "


def answers(
    frame: pd.DataFrame,
    failures: Iterable[str] = (),
    *,
    claims: Sequence[Claim] = CLAIMS,
    late: Sequence[LateDecision] = (),
) -> pd.DataFrame:
    """A row a claim, of our own improvements one a configuration, with `ANSWER_COLUMNS`.

    `effect` is how far the one side is ahead, with its interval of 95 %: a difference in the unit of the metric or,
    where `relative`, a quotient. `d_z` is in standard deviations of the seeds' means. `p` is of the paired t test of
    no effect (or of the effect that a claim says is exceeded), `p_holm` the same after Holm over the family.

    Yes: `p_holm` is below the level, in the claimed direction. No: it is in the other direction, or the whole interval
    is below `smallest`, the least effect that matters, and the networks find something at all. As above: a claim before
    it is about the same runs. `detectable` is the effect that so many seeds, with the spread that they have, find in
    four of five cases. `hint` says why a yes or a no is a hint only (`hints`), and is empty where it is more.

    Args:
        frame: `records_frame`.
        failures: folders of runs that came to nothing.
        claims: the family or families.
        late: what was decided on after looking at results.
    """
    failed = failed_runs(frame, failures)
    rows = _once(row for claim in claims for row in _rows(claim, frame, failed, late))
    table = pd.DataFrame(rows, columns=[*ANSWER_COLUMNS, "beyond", "chosen", "as_above", "late"])
    for _, family in table.groupby("family"):
        table.loc[family.index, "p_holm"] = significance.holm(family["p"].tolist())
    table["answer"] = [_answer(row) for row in table.to_dict("records")]
    table["hint"] = [_hint(row) for row in table.to_dict("records")]
    table["note"] = [join_notes(_remark(row), row["note"]) for row in table.to_dict("records")]
    return table[list(ANSWER_COLUMNS)]


def is_tested(table: pd.DataFrame) -> bool:
    """Whether any of the claims could be tested."""
    return bool(table["answer"].isin([YES, NO, UNDECIDED]).any())


def shown(table: pd.DataFrame, *, family: str | None = None) -> pd.DataFrame:
    """The answers as people read them: text in every cell.

    Args:
        table: `answers`.
        family: to be shown; None: all.
    """
    rows = [row for row in table.to_dict("records") if family in (None, row["family"])]
    return pd.DataFrame(
        [
            {
                "claim": row["claim"],
                "answer": marked(row["answer"], row["hint"]),
                "effect [95 %]": _with_interval(row),
                "p, Holm": _p(row["p_holm"]),
                "p": _p(row["p"]),
                "seeds": str(row["n"] or ""),
                "metric": METRICS[row["metric"]].label,
                "means": _means(row),
                "compared": row["comparisons"],
                "ratios": row["ratios"],
                "could find": _effect(row["detectable"], row),
                "note": row["note"],
            }
            for row in rows
        ],
        dtype=str,
    )


def _once(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row of the same runs as one before has no numbers and says so: a test counts once in its family."""
    found: dict[Any, str] = {}
    for row in rows:
        key = (row["family"], row["metric"], row["comparisons"], row["ratios"], row["beyond"])
        if row["n"] and key in found:
            note = join_notes(f"the same runs as of: {found[key]}", row["note"])
            yield row | dict.fromkeys(NUMBERS, math.nan) | {"as_above": True, "note": note}
        else:
            found[key] = row["claim"]
            yield row


def _rows(
    claim: Claim, frame: pd.DataFrame, failed: Mapping[str, Sequence[float]], late: Sequence[LateDecision]
) -> Iterator[dict[str, Any]]:
    pairs, note = pairs_of(claim, frame)
    # What is said of every pair is answered for each, and so is what we claim; the rest is about the mean of all.
    for group in [[pair] for pair in pairs] if (claim.each or claim.family == IMPROVEMENTS) and pairs else [pairs]:
        complete, dropped = fixed_set(blocks_of(claim, group, frame))
        blocks, bare = that_find_something(claim, complete)
        row = _row(claim, group, blocks, join_notes(note, _differ(group, frame), dropped, bare), failed)
        yield row | {"late": rests_on_one(late, (block.ratio for block in blocks), claim=claim.words)}


def _differ(pairs: Iterable[Pair], frame: pd.DataFrame) -> str:
    """Which of the pairs differ in more than a claim is about."""
    recipes = frame.groupby("configuration")["recipe"].agg(set)
    names = [f"{one} and {two}" for one, two in pairs if recipes[one] != recipes[two]]
    return f"compared although their configs differ in more: {'; '.join(names)}" if names else ""


def _row(
    claim: Claim, pairs: Sequence[Pair], blocks: Sequence[Block], note: str, failed: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """All numbers of a claim but `p_holm` and the answer."""
    names = sorted({name for pair in pairs for name in pair})
    low, high = claim.ratios
    runs = sorted(ratio for name in names for ratio in failed.get(name, []) if low <= ratio <= high)
    row: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan) | {
        "family": claim.family,
        "claim": claim.words,
        "metric": claim.metric,
        "comparisons": "; ".join(dict.fromkeys(f"{b.pair.ahead} against {b.pair.behind}" for b in blocks)),
        "ratios": ", ".join(f"{100 * ratio:g} %" for ratio in sorted({b.ratio for b in blocks})),
        "n": len(blocks[0].ahead) if blocks else 0,
        "relative": claim.relative,
        "smallest": math.exp(claim.smallest) if claim.relative else claim.smallest + claim.beyond,
        "beyond": claim.beyond,
        "chosen": claim.behind == BEST,
        "as_above": False,
        "failed": len(runs),
    }
    if pairs and not blocks:
        note = join_notes(note, f"no seed has {METRICS[claim.metric].label} of both")
    if runs:
        at = ", ".join(f"{100 * ratio:g} %" for ratio in dict.fromkeys(runs))
        note = join_notes(note, f"failed runs of these configurations, which are in no mean: {len(runs)}, at {at}")
    row["note"] = note
    if not blocks:
        return row
    one, two = (np.mean([getattr(b, side).to_numpy() for b in blocks], axis=0) for side in ("ahead", "behind"))
    row |= {f"mean_{side}": _unit(claim)(found.mean()) for side, found in (("ahead", one), ("behind", two))}
    ahead, behind = (-one, -two) if claim.lower else (one, two)
    return row | _tested(claim, ahead, behind, note)


def _tested(claim: Claim, ahead: np.ndarray, behind: np.ndarray, note: str) -> dict[str, Any]:
    """Effect, interval and test of one value a seed and side."""
    unit = _unit(claim)
    differences = ahead - behind
    found: dict[str, Any] = {"effect": unit(differences.mean()), "note": note}
    if len(differences) < 2:
        return found | {"note": join_notes(note, "one seed: a test needs two or more")}
    found["p"] = significance.paired(behind + claim.beyond, ahead)
    if math.isnan(found["p"]):
        return found | {"note": join_notes(note, "every seed differs by the same: no test")}
    found["low"], found["high"] = map(unit, significance.paired_interval(behind, ahead))
    found["d_z"] = significance.paired_effect(behind, ahead)
    found["d_z_low"], found["d_z_high"] = significance.paired_effect_interval(behind, ahead)
    least = significance.detectable_paired_effect(len(differences)) * float(differences.std(ddof=1))
    return found | {"detectable": unit(least)}


def _unit(claim: Claim) -> Callable[[float], float]:
    """From what is averaged to what is shown."""
    return math.exp if claim.relative else float


def _answer(row: Mapping[Any, Any]) -> str:
    """By the rule that `answers` states; its numbers are those of the table."""
    if row["as_above"]:
        return AS_ABOVE
    if math.isnan(row["p"]):
        return NOT_TESTED
    still = math.exp(row["beyond"]) if row["relative"] else row["beyond"]
    sure = row["p_holm"] < LEVEL
    if _is_bare(row) and (row["beyond"] or not sure):
        return UNDECIDED
    if sure and row["effect"] > still:
        return YES
    # The rival was chosen for being ahead on these very seeds, which speaks for it: no proof against ours.
    return NO if (sure or row["high"] < row["smallest"]) and not row["chosen"] else UNDECIDED


def _remark(row: Mapping[Any, Any]) -> str:
    """Why an answer is not what its p alone says."""
    return join_notes(LATE if row["late"] and row["answer"] in (YES, NO, UNDECIDED) else "", _of_its_size(row))


def _hint(row: Mapping[Any, Any]) -> str:
    """Of what was found, or shown to be small; what is undecided says nothing that could be a hint."""
    return hint_of_pairs(row["n"], late=row["late"]) if row["answer"] in (YES, NO) else ""


def _of_its_size(row: Mapping[Any, Any]) -> str:
    """What to know of how large means and effect are."""
    bare = BARE if _is_bare(row) else ""
    if bare and row["answer"] == UNDECIDED:
        return f"{bare}: too little for an answer"
    if row["answer"] == YES and row["metric"].startswith("speed_up") and row["mean_ahead"] < 1:
        return "both are slower than the dense network"
    other_way = row["answer"] == NO and row["p_holm"] < LEVEL
    small = row["answer"] in (YES, NO) and row["high"] < row["smallest"] and not row["beyond"] and not other_way
    return join_notes(bare, f"{SMALL}, {_effect(row['smallest'], row)}" if small else "")


def _is_bare(row: Mapping[Any, Any]) -> bool:
    """Whether networks find so little that neither a small difference nor a small loss means anything."""
    return row["metric"].startswith("map") and max(row["mean_ahead"], row["mean_behind"]) < ROOM


def _means(row: Mapping[Any, Any]) -> str:
    metric, means = METRICS[row["metric"]], (row["mean_ahead"], row["mean_behind"])
    unit = f" {metric.unit}" if metric.unit else ""
    return "" if math.isnan(means[0]) else " / ".join(map(metric.form.format, means)) + unit


def _with_interval(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["effect"]):
        return ""
    ends = "" if math.isnan(row["low"]) else f" [{_effect(row['low'], row)}, {_effect(row['high'], row)}]"
    return _effect(row["effect"], row) + ends


def _effect(value: float, row: Mapping[Any, Any]) -> str:
    if math.isnan(value):
        return ""
    return f"{TIMES}{value:.2f}" if row["relative"] else f"{value:+.3f}"


def _p(value: float) -> str:
    """With two digits, or as many more as show on which side of the level it is."""
    if math.isnan(value):
        return ""
    texts = (f"{value:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if (float(text) < LEVEL) == (value < LEVEL))
