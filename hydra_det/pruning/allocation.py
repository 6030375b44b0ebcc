"""How much of every pool is kept, so that the network costs no more than its budget.

Every allocation is a ladder: counts that rise with a level in [0, 1], from the fewest units to all. The level is the
highest one whose cost fits; between it and the next, pools are raised one after the other until the budget holds no
further step of the next pool. So counts are nested as the budget grows, and miss it by less than a unit of a pool.
Where counts must be multiples, pools are raised in turn until no further step of any fits, and counts are not nested.
"""

import bisect
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hydra_det.pruning.units import Counts, Units

Importance = Mapping[str, Tensor]
Ladder = Callable[[float], Counts]  # level in [0, 1] -> units kept of every pool

HALVINGS = 40


def fit(
    ladder: Ladder,
    sizes: Counts,
    *,
    cost: Callable[[Counts], float],
    limit: float,
    least: Counts,
    multiple: int = 1,
) -> Counts | None:
    """The largest counts of a ladder whose cost does not exceed the limit.

    Args:
        ladder: counts by level.
        sizes: units of every pool.
        cost: of counts; does not fall as they rise.
        limit: in the unit of the cost.
        least: counts that no pool falls below.
        multiple: of which every count is one, unless it is the whole pool.

    Returns:
        Units kept of every pool; None if even the lowest level costs too much.
    """

    def guarded(level: float) -> Counts:
        rounded = {pool: (count + multiple // 2) // multiple * multiple for pool, count in ladder(level).items()}
        return {pool: min(max(count, least[pool]), sizes[pool]) for pool, count in rounded.items()}

    limit *= 1 + 1e-12  # a sum of shares is not exact
    low, high = 0.0, 1.0
    fewer, more = guarded(low), dict(sizes)
    if cost(more) <= limit:
        return more
    if cost(fewer) > limit:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        counts = guarded(middle)
        if cost(counts) <= limit:
            low, fewer = middle, counts
        else:
            high, more = middle, counts
    counts = _raise(fewer, more, cost=cost, limit=limit, multiple=multiple)
    return counts if multiple == 1 else _fill(counts, sizes, cost=cost, limit=limit, multiple=multiple)


def _raise(fewer: Counts, more: Counts, *, cost: Callable[[Counts], float], limit: float, multiple: int) -> Counts:
    """Raise pool after pool from `fewer` to `more` until the limit is reached."""
    counts = dict(fewer)
    for pool, most in more.items():
        if cost({**counts, pool: most}) <= limit:
            counts[pool] = most
            continue
        steps = range(counts[pool], most, multiple)
        fitting = bisect.bisect_right(steps, limit, key=lambda count: cost({**counts, pool: count}))
        counts[pool] = steps[fitting - 1]
        break
    return counts


def _fill(counts: Counts, sizes: Counts, *, cost: Callable[[Counts], float], limit: float, multiple: int) -> Counts:
    """Raise pools by a step each, in turn, until no further step of any fits.

    The last pools come first: a step costs less time there, where maps are small.
    """
    while True:
        before = counts
        for pool in reversed(sizes):
            further = {**counts, pool: min(counts[pool] + multiple, sizes[pool])}
            counts = further if cost(further) <= limit else counts
        if counts == before:
            return counts


def uniform(units: Units, _importance: Importance) -> Ladder:
    """The same share of every pool, HYDRA's rule."""
    return lambda level: {pool: _rounded(level * size) for pool, size in units.sizes.items()}


def erk(units: Units, _importance: Importance) -> Ladder:
    """Erdős–Rényi-Kernel (Evci et al. 2020, arXiv 1911.11134): the larger a layer, the smaller the share that it keeps.

    A layer's share of weights is proportional to (O + I + kH + kW) / (O * I * kH * kW), at most 1. A channel takes a
    filter and what reads it, so the share of channels is the root of the mean over the layers that write them.
    """
    density = {}
    for pool in units.sizes:
        shapes = [layer.shape for layer in units.members(pool)]
        density[pool] = float(np.mean([sum(shape) / np.prod(shape) for shape in shapes])) ** (1 / units.dimensions)
    sparsest = min(density.values())
    return lambda level: {
        pool: _rounded(min(1.0, level * density[pool] / sparsest) * size) for pool, size in units.sizes.items()
    }


def by_value(_units: Units, importance: Importance) -> Ladder:
    """The most important units wherever they are: one threshold for all pools."""
    return _above({pool: _rising(values) for pool, values in importance.items()})


def lamp(_units: Units, importance: Importance) -> Ladder:
    """LAMP (Lee et al. 2021, arXiv 2010.07611): one threshold for s^2 / (sum of t^2 over t >= s of its pool)."""
    scores = {}
    for pool, values in importance.items():
        rising = _rising(values).double()
        if torch.are_deterministic_algorithms_enabled():
            rising = rising.cpu()  # running sums on a GPU have no fixed order
        above = rising.square().flip(0).cumsum(0).flip(0)  # of those not smaller
        # The root has the same order and a smaller range.
        lamp_scores = rising / above.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
        scores[pool] = lamp_scores.float().to(values.device)
    return _above(scores)


class LearnedShares:
    """A share of every pool that is trained with the scores under the budget, as in HARP (arXiv 2412.14714).

    HARP adds what the network costs above its budget to the loss. Here the budget holds in every step: shares are
    sigmoid(logit + level) with the highest level that fits, and logits follow the part of the gradient that does not
    change the cost.

    Args:
        start: share of every pool to begin with, in [0, 1].
        rate: learning rate of Adam on the logits.

    Attributes:
        logits: by pool.
    """

    REACH = 40.0  # sigmoid(-REACH) of any pool is less than a unit
    LARGEST = REACH / 2  # logits stay within, so that the ladder goes from nothing to all
    EDGE = 1e-3  # at 0 or 1 a sigmoid does not move any more

    def __init__(self, start: Mapping[str, float], *, rate: float) -> None:
        shares = torch.tensor(list(start.values()), dtype=torch.float64).clamp(self.EDGE, 1 - self.EDGE)
        self.logits = torch.logit(shares).requires_grad_()
        self.pools = list(start)
        self._optimizer = torch.optim.Adam([self.logits], lr=rate)

    def __call__(self, units: Units, _importance: Importance) -> Ladder:
        """The ladder of the logits as they are."""
        logits = self.logits.detach()

        def ladder(level: float) -> Counts:
            shares = torch.sigmoid(logits + self.REACH * (2 * level - 1)).tolist()
            return {pool: _rounded(share * units.sizes[pool]) for pool, share in zip(self.pools, shares, strict=True)}

        return ladder

    def learn(self, shares: Sequence[float], slopes: Sequence[float], prices: Sequence[float]) -> None:
        """One step.

        Args:
            shares: kept of every pool, in (0, 1].
            slopes: derivative of the loss by them.
            prices: derivative of the cost by them.
        """
        share, slope, price = (torch.tensor(values, dtype=torch.float64) for values in (shares, slopes, prices))
        if not slope.isfinite().all():
            return  # as the optimiser of the scores does when half precision has overflowed
        inner = share * (1 - share)  # derivative of the sigmoid
        slope, price = slope * inner, price * inner
        worth = (slope @ price) / (price @ price).clamp(min=1e-30)
        self.logits.grad = slope - worth * price
        self._optimizer.step()
        with torch.no_grad():
            self.logits.clamp_(-self.LARGEST, self.LARGEST)

    def state_dict(self) -> dict[str, Any]:
        """Logits and the state of their optimiser."""
        return copy.deepcopy({"logits": self.logits.detach(), "optimizer": self._optimizer.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.logits.detach().copy_(state["logits"])
        self._optimizer.load_state_dict(state["optimizer"])


ALLOCATIONS: dict[str, Callable[[Units, Importance], Ladder] | None] = {
    "uniform": uniform,
    "global": by_value,
    "erk": erk,
    "lamp": lamp,
    "learned": None,  # has a state: `LearnedShares`
}


def _rising(values: Tensor) -> Tensor:
    """[n] -> [n] float32, sorted."""
    flat = values.detach().reshape(-1).float()
    if flat.device.type == "cpu":
        return torch.from_numpy(np.sort(flat.numpy()))  # a tenth of the time of torch's
    return flat.sort().values


def _above(rising: Mapping[str, Tensor]) -> Ladder:
    """How many values of every pool reach a threshold, which falls as the level rises."""

    def ladder(level: float) -> Counts:
        bound = _threshold(level)
        return {pool: len(values) - int(torch.searchsorted(values, bound)) for pool, values in rising.items()}

    return ladder


def _threshold(level: float) -> float:
    """Level 0 is infinity, level 1 is 0, and every float32 between them has its level."""
    bits = round((1 - level) * int(np.float32(np.inf).view(np.int32)))
    return float(np.int32(bits).view(np.float32))


def _rounded(units: float) -> int:
    return int(units + 0.5)
