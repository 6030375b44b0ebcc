"""The runs that answer a claim: of every comparison at every ratio, both sides of the same seeds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hydra_det.reports.statistics.cells import seed_values
from hydra_det.reports.statistics.claims import Claim, Pair

ROOM = 0.02  # AP of the better side, below which no difference says nothing: there was nothing to lose


class Block(NamedTuple):
    """A comparison at a ratio: one difference a seed, of logarithms where the claim is of a quotient."""

    pair: Pair
    ratio: float
    ahead: pd.Series  # by seed
    behind: pd.Series


def blocks_of(claim: Claim, pairs: Sequence[Pair], frame: pd.DataFrame) -> list[Block]:
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
    counts = Counter(seed for block in blocks for seed in block.ahead.index)
    seeds = {seed for seed, count in counts.items() if 2 * count >= len(blocks)} or set(counts)
    while seeds and not any(seeds <= set(block.ahead.index) for block in blocks):
        seeds.discard(min(seeds, key=lambda seed: (counts[seed], -seed)))
    given_up, order = sorted(set(counts) - seeds), sorted(seeds)
    kept = [b._replace(ahead=b.ahead[order], behind=b.behind[order]) for b in blocks if seeds <= set(b.ahead.index)]
    dropped = [b for b in blocks if not seeds <= set(b.ahead.index)]
    notes = [f"seed {', '.join(map(str, given_up))} left out"] if given_up else []
    if dropped:
        notes.append(f"left out for want of a seed: {_named(dropped, blocks)}")
    return kept, "; ".join(notes)


def that_find_something(claim: Claim, blocks: Sequence[Block]) -> tuple[Sequence[Block], str]:
    """Those in which a side finds something, and a note: where neither does, no difference says nothing."""
    if not claim.metric.startswith("map"):
        return blocks, ""
    found = [b for b in blocks if max(b.ahead.mean(), b.behind.mean()) >= ROOM]
    if not found or len(found) == len(blocks):
        return blocks, ""
    bare = [b for b in blocks if max(b.ahead.mean(), b.behind.mean()) < ROOM]
    return found, f"left out, as both find nearly nothing: {_named(bare, blocks)}"


def _named(some: Iterable[Block], blocks: Iterable[Block]) -> str:
    """By the ratio, and by the pair where there are several."""
    several = len({b.pair for b in blocks}) > 1
    return "; ".join(
        f"{100 * b.ratio:g} %" + (f" of {b.pair.ahead} and {b.pair.behind}" if several else "") for b in some
    )
