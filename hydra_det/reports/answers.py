"""What runs answer to `claims`: yes, no, undecided, or not tested.

For every seed the mean over a claim's comparisons and ratios, then a t test of the seeds' means. So that every seed is
the mean of the same things, a comparison at a ratio counts only where every seed has both of its runs.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hydra_det.reports import statistics
from hydra_det.reports.cells import METRICS, seed_values
from hydra_det.reports.claims import BEST, CLAIMS, EFFECT, IMPROVEMENTS, SPEED, Claim, Pair, pairs_of
from hydra_det.reports.runs import failed_runs
from hydra_det.reports.statistics import LEVEL

YES, NO, UNDECIDED, NOT_TESTED = "yes", "no", "undecided", "not tested"
ANSWER_COLUMNS = (
    *("family", "claim", "metric", "comparisons", "ratios", "n", "mean_ahead", "mean_behind"),
    *("effect", "low", "high", "d_z", "d_z_low", "d_z_high"),
    *("p", "p_holm", "answer", "relative", "smallest", "detectable", "failed", "note"),
)
RULE = (
    "Means: of the side that is said to be ahead and of the other one, over comparisons, ratios and seeds, of times "
    "geometric. Effect: how far it is ahead, as a difference, of times as a quotient. p: paired by seed. Yes: p after "
    "Holm is below 0.05, in the claimed direction. No: it is so in the other direction or, if neither, the whole "
    f"interval is below what matters, {EFFECT:g} AP or {100 * math.expm1(SPEED):.0f} % of time. Could find: the effect "
    "that a test of these seeds finds in four of five cases. Neither the interval nor that is adjusted for many tests."
)
ROOM = 0.02  # AP of the better side, below which no difference says nothing: there was nothing to lose
TIMES = "\N{MULTIPLICATION SIGN} "


class Block(NamedTuple):
    """A comparison at a ratio: one difference a seed, of logarithms where the claim is of a quotient."""

    pair: Pair
    ratio: float
    ahead: pd.Series  # by seed
    behind: pd.Series


def answers(frame: pd.DataFrame, failures: Iterable[str] = (), *, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """A row a claim, of our own improvements one a configuration, with `ANSWER_COLUMNS`.

    `effect` is how far the one side is ahead, with its interval of 95 %: a difference in the unit of the metric or,
    where `relative`, a quotient. `d_z` is in standard deviations of the seeds' means. `p` is of the paired t test of
    no effect (or of the effect that a claim says is exceeded), `p_holm` the same after Holm over the family.

    Yes: `p_holm` is below the level, in the claimed direction. No: it is in the other direction, or the whole interval
    is below `smallest`, the least effect that matters, and the networks find something at all. `detectable` is the
    effect that so many seeds, with the spread that they have, find in four of five cases.

    Args:
        frame: `records_frame`.
        failures: folders of runs that came to nothing.
        claims: the family or families.
    """
    failed = failed_runs(frame, failures)
    rows = _once(row for claim in claims for row in _rows(claim, frame, failed))
    table = pd.DataFrame(rows, columns=[*ANSWER_COLUMNS, "beyond", "chosen"])
    for _, family in table.groupby("family"):
        table.loc[family.index, "p_holm"] = statistics.holm(family["p"].tolist())
    table["answer"] = [_answer(row) for row in table.to_dict("records")]
    table["note"] = [_joined(_remark(row), row["note"]) for row in table.to_dict("records")]
    return table[list(ANSWER_COLUMNS)]


def is_tested(table: pd.DataFrame) -> bool:
    """Whether any of the claims could be tested."""
    return bool((table["answer"] != NOT_TESTED).any())


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
                "answer": row["answer"],
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


def _once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without rows of the same runs as one before, which says so: a test counts once in its family."""
    found: dict[Any, dict[str, Any]] = {}
    for place, row in enumerate(rows):
        key = (row["family"], row["metric"], row["comparisons"], row["ratios"], row["beyond"]) if row["n"] else place
        if key in found:
            found[key]["note"] = _joined(found[key]["note"], f"the same runs answer: {row['claim']}")
        else:
            found[key] = row
    return list(found.values())


def _rows(claim: Claim, frame: pd.DataFrame, failed: Mapping[str, Sequence[float]]) -> Iterator[dict[str, Any]]:
    pairs, note = pairs_of(claim, frame)
    # What is said of every pair is answered for each, and so is what we claim; the rest is about the mean of all.
    for group in [[pair] for pair in pairs] if (claim.each or claim.family == IMPROVEMENTS) and pairs else [pairs]:
        blocks, dropped = fixed_set(_blocks(claim, group, frame))
        yield _row(claim, group, blocks, _joined(note, _differ(group, frame), dropped), failed)


def _differ(pairs: Iterable[Pair], frame: pd.DataFrame) -> str:
    """Which of the pairs differ in more than a claim is about."""
    recipes = frame.groupby("configuration")["recipe"].agg(set)
    names = [f"{one} and {two}" for one, two in pairs if recipes[one] != recipes[two]]
    return f"compared although their configs differ in more: {'; '.join(names)}" if names else ""


def _blocks(claim: Claim, pairs: Sequence[Pair], frame: pd.DataFrame) -> list[Block]:
    """All comparisons at all ratios of which any seed has both runs."""
    values, (low, high) = seed_values(frame, claim.metric), claim.ratios
    if claim.relative:
        values = np.log(values[values > 0])
    blocks = []
    for pair in pairs:
        sides = [
            values.xs(name, level="configuration") if name in values.index.unique("configuration") else values.iloc[:0]
            for name in pair
        ]
        for ratio in sorted(set.intersection(*(set(side.index.get_level_values("ratio")) for side in sides))):
            one, two = (side.xs(ratio, level="ratio") for side in sides)
            seeds = one.index.intersection(two.index)
            if low <= ratio <= high and len(seeds):
                blocks.append(Block(pair, float(ratio), one[seeds].sort_index(), two[seeds].sort_index()))
    return blocks


def fixed_set(blocks: Sequence[Block]) -> tuple[list[Block], str]:
    """The blocks that have every seed, and a note on what was dropped.

    A seed that has only begun, with less than half of the blocks, is given up: it must not cost the others their
    ratios. So are, where no block has every seed, those that the fewest have.
    """
    counts: dict[int, int] = {}
    for block in blocks:
        for seed in block.ahead.index:
            counts[seed] = counts.get(seed, 0) + 1
    seeds = {seed for seed, count in counts.items() if 2 * count >= len(blocks)} or set(counts)
    while seeds and not any(seeds <= set(block.ahead.index) for block in blocks):
        seeds.discard(min(seeds, key=lambda seed: (counts[seed], -seed)))
    given_up, order = sorted(set(counts) - seeds), sorted(seeds)
    kept = [b._replace(ahead=b.ahead[order], behind=b.behind[order]) for b in blocks if seeds <= set(b.ahead.index)]
    dropped = [b for b in blocks if not seeds <= set(b.ahead.index)]
    notes = [f"seed {', '.join(map(str, given_up))} left out"] if given_up else []
    if dropped:
        several = len({b.pair for b in blocks}) > 1
        names = [
            f"{100 * b.ratio:g} %" + (f" of {b.pair.ahead} and {b.pair.behind}" if several else "") for b in dropped
        ]
        notes.append(f"left out for want of a seed: {'; '.join(names)}")
    return kept, "; ".join(notes)


def _row(
    claim: Claim, pairs: Sequence[Pair], blocks: Sequence[Block], note: str, failed: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """All numbers of a claim but `p_holm` and the answer."""
    numbers = ("mean_ahead", "mean_behind", "effect", "low", "high", "d_z", "d_z_low", "d_z_high", "p", "detectable")
    names = sorted({name for pair in pairs for name in pair})
    low, high = claim.ratios
    runs = sorted(ratio for name in names for ratio in failed.get(name, []) if low <= ratio <= high)
    row: dict[str, Any] = dict.fromkeys(numbers, math.nan) | {
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
        "failed": len(runs),
    }
    if pairs and not blocks:
        note = _joined(note, f"no seed has {METRICS[claim.metric].label} of both")
    if runs:
        at = ", ".join(f"{100 * ratio:g} %" for ratio in dict.fromkeys(runs))
        note = _joined(note, f"failed runs of these configurations, which are in no mean: {len(runs)}, at {at}")
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
        return found | {"note": _joined(note, "one seed: a test needs two or more")}
    found["p"] = statistics.paired(behind + claim.beyond, ahead)
    if math.isnan(found["p"]):
        return found | {"note": _joined(note, "every seed differs by the same: no test")}
    found["low"], found["high"] = map(unit, statistics.paired_interval(behind, ahead))
    found["d_z"] = statistics.paired_effect(behind, ahead)
    found["d_z_low"], found["d_z_high"] = statistics.paired_effect_interval(behind, ahead)
    least = statistics.detectable_paired_effect(len(differences)) * float(differences.std(ddof=1))
    return found | {"detectable": unit(least)}


def _unit(claim: Claim) -> Callable[[float], float]:
    """From what is averaged to what is shown."""
    return math.exp if claim.relative else float


def _answer(row: Mapping[Any, Any]) -> str:
    """By the rule that `answers` states; its numbers are those of the table."""
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
    if row["answer"] == UNDECIDED and _is_bare(row):
        return "the AP of both is near 0: too little for an answer"
    other_way = row["answer"] == NO and row["p_holm"] < LEVEL
    small = row["answer"] in (YES, NO) and row["high"] < row["smallest"] and not row["beyond"] and not other_way
    return f"smaller than what matters, {_effect(row['smallest'], row)}" if small else ""


def _is_bare(row: Mapping[Any, Any]) -> bool:
    """Whether networks find so little that neither a small difference nor a small loss means anything."""
    return row["metric"].startswith("map") and max(row["mean_ahead"], row["mean_behind"]) < ROOM


def _means(row: Mapping[Any, Any]) -> str:
    form = METRICS[row["metric"]].form
    means = row["mean_ahead"], row["mean_behind"]
    return "" if math.isnan(means[0]) else " / ".join(map(form.format, means))


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
    return "" if math.isnan(value) else f"{value:.2g}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
