"""From scores to the masks of a whole network: units, allocation, top-k.

plan = mask_plan(settings, layout)
masks = plan.masks(scores)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hydra_det.pruning.allocation import ALLOCATIONS, Ladder, LearnedShares, fit
from hydra_det.pruning.granularity import GRANULARITIES, Blocks
from hydra_det.pruning.layout import Layout
from hydra_det.pruning.masks import kept_units, top_k
from hydra_det.pruning.settings import GROUPED, PruneSettings
from hydra_det.pruning.units import Counts, FilterGroups, LayerUnits, Price, Units
from hydra_det.types import InputError, RatioError

Scores = Mapping[str, Tensor]  # layer -> [O, I, kH, kW]
Masks = dict[str, Tensor]  # layer -> [O, I, kH, kW] bool, True where a weight stays

MORE_THAN_ASKED = 0.05  # of what the ratio leaves: so much more a minimum of every layer may keep
WINDOW = 0.1  # the units that tell what a larger share is worth: this part of the kept ones on both sides of the edge


class MaskPlan:
    """The masks of one granularity.

    Args:
        settings: what is asked.
        layout: of the network.
        price: of a layer by the filters and input channels that it keeps; None: that of `settings.budget`.

    Raises:
        InputError: the ratio cannot be met; the message says which can.
    """

    def __init__(self, settings: PruneSettings, layout: Layout, price: Price | None = None) -> None:
        self.settings = settings
        self.units = units_of(settings, layout)
        self.price = price or _price(settings.budget, layout)
        self.whole = self.units.cost(self.units.sizes, self.price)
        least = -(-settings.min_keep // settings.multiple) * settings.multiple
        self.least = {pool: min(least, size) for pool, size in self.units.sizes.items()}
        if not self.units.sizes:
            raise InputError(
                f"prune.granularity: expected layers that can be cut into units of {settings.granularity}, found none"
            )
        # Without prices a budget of time cannot be judged: the masks were made within it before.
        if price is not None or settings.budget != "latency":
            self._check_possible()
        self.learned = LearnedShares(self._start(), rate=settings.rate)

    def masks(self, scores: Scores, *, counts: Counts | None = None, final: bool = False) -> Masks:
        """The top units of every pool.

        Args:
            scores: of every layer; the importance is their absolute value.
            counts: units kept of every pool; None: as allocated now.
            final: not to be trained any more.
        """
        importance = self.units.importance(scores)
        counts = self.counts(importance) if counts is None else counts
        kept = {pool: top_k(values, counts[pool]) for pool, values in importance.items()}
        return self.units.masks(kept, final=final)

    def counts(self, importance: Mapping[str, Tensor]) -> Counts:
        """Units kept of every pool."""
        settings, sizes = self.settings, self.units.sizes
        if self.same_share:
            return {pool: max(self.least[pool], kept_units(size, settings.ratio)) for pool, size in sizes.items()}
        allocation = ALLOCATIONS[settings.allocation] or self.learned
        return self._fit(allocation(self.units, importance))

    def _start(self) -> dict[str, float]:
        """Share of every pool before any is learned, up to the level that fits the budget."""
        start = ALLOCATIONS[self.settings.start]
        if self.settings.allocation != "learned" or self.settings.start == "uniform" or start is None:
            return dict.fromkeys(self.units.sizes, 0.5)
        counts = self._fit(start(self.units, {}))
        return {pool: counts[pool] / size for pool, size in self.units.sizes.items()}

    def _fit(self, ladder: Ladder) -> Counts:
        bounds: dict[str, Any] = {"limit": self.limit, "least": self.least, "multiple": self.settings.multiple}
        counts = fit(ladder, self.units.sizes, cost=self.cost, **bounds)
        assert counts is not None, "the least that can be kept was checked against the budget"
        return counts

    def cost(self, counts: Counts) -> float:
        """What the network costs with so many units of each pool."""
        return self.units.cost(counts, self.price)

    @property
    def same_share(self) -> bool:
        """Whether every layer keeps just the share that the ratio says, which no budget of time does."""
        settings = self.settings
        return settings.allocation == "uniform" and self.units.each_layer and settings.budget != "latency"

    @property
    def limit(self) -> float:
        """What it may cost."""
        return (1 - self.settings.ratio) * self.whole

    def counts_in(self, masks: Masks) -> Counts:
        """Units kept of every pool by masks that this plan made."""
        return {pool: int(kept.sum()) for pool, kept in self.units.kept(masks).items()}

    @property
    def sizes(self) -> Counts:
        """Number of units of every pool."""
        return self.units.sizes

    @property
    def settled(self) -> bool:
        """Whether how much is kept depends on more than the scores: on what was learned or measured while training."""
        return self.settings.allocation == "learned" or self.settings.budget == "latency"

    def learn(self, scores: Scores, slopes: Scores, masks: Masks) -> None:
        """One step of the learned shares.

        Args:
            scores: of every layer.
            slopes: derivative of the loss by every entry of the masks.
            masks: in place when the loss was computed.
        """
        importance, gains = self.units.importance(scores), self.units.gains(slopes)
        counts, sizes = self.counts_in(masks), self.units.sizes
        shares, rises, prices = [], [], []
        for pool, size in sizes.items():
            kept = counts[pool]
            reach = max(1, round(WINDOW * kept))
            edge = top_k(importance[pool], min(size, kept + reach)) & ~top_k(importance[pool], max(0, kept - reach))
            # At 0 or 1 the sigmoid would not move any more.
            shares.append(min(max(kept, 0.5), size - 0.5) / size)
            rises.append(size * float(gains[pool][edge].mean()))
            more, fewer = min(size, kept + 1), max(0, kept - 1)
            prices.append(self._difference(counts, pool, more, fewer) / (more - fewer) * size)
        self.learned.learn(shares, rises, prices)

    def check(self, masks: Masks) -> None:
        """Refuse masks that are not what was asked: units in part, other counts, or above the budget."""
        kept = self.units.kept(masks)
        for name, mask in self.units.masks(kept, final=True).items():
            if not torch.equal(mask, masks[name]):
                raise ValueError(f"layer {name}: expected whole units, found some that are kept in part")
        counts, settings = self.counts_in(masks), self.settings
        for pool, count in counts.items():
            if count % settings.multiple and count < self.units.sizes[pool]:
                raise ValueError(f"{pool}: expected a multiple of {settings.multiple} units kept, found {count}")
            if count < self.least[pool]:
                raise ValueError(f"{pool}: expected at least {self.least[pool]} units kept, found {count}")
        if self.same_share:
            for pool, expected in self.counts({}).items():
                if counts[pool] != expected:
                    raise ValueError(
                        f"layer {pool}: expected {expected} of {self.units.sizes[pool]} units kept at ratio "
                        f"{settings.ratio}, found {counts[pool]}"
                    )
        # Time is never measured twice alike: that budget was met when scores were trained.
        elif settings.budget != "latency" and self.cost(counts) > self.limit * (1 + 1e-9):
            raise ValueError(
                f"expected at most {1 - settings.ratio} of the {settings.budget}, found "
                f"{self.cost(counts) / self.whole}"
            )

    def _difference(self, counts: Counts, pool: str, more: int, fewer: int) -> float:
        return self.cost({**counts, pool: more}) - self.cost({**counts, pool: fewer})

    def _check_possible(self) -> None:
        settings = self.settings
        if self.same_share:
            self._check_minimum(self.units.sizes)
        elif settings.ratio > (most := 1 - self.cost(self.least) / self.whole):
            raise RatioError(self._impossible(most))

    def _impossible(self, most: float) -> str:
        settings = self.settings
        return (
            f"prune.ratio: expected at most {int(most * 1e4) / 1e4} of the {settings.budget} for granularity="
            f"{settings.granularity} with prune.min_keep={settings.min_keep} and prune.multiple={settings.multiple}, "
            f"got {settings.ratio}"
        )

    def _check_minimum(self, sizes: Counts) -> None:
        """Refuse a minimum that keeps much more of layers than the ratio would; a single unit is a guard."""
        settings = self.settings
        if settings.min_keep == 1:
            return
        kept = {pool: kept_units(size, settings.ratio) for pool, size in sizes.items()}
        extra = sum(max(0, min(settings.min_keep, size) - kept[pool]) for pool, size in sizes.items())
        if extra > (0 if settings.granularity == "nm" else MORE_THAN_ASKED) * sum(kept.values()):
            raise RatioError(
                f"prune.min_keep: expected a number that leaves prune.ratio={settings.ratio} possible, got "
                f"{settings.min_keep}, which keeps {extra:,} units more than the {sum(kept.values()):,} of that ratio"
            )


class HybridPlan(MaskPlan):
    """Filters first, then single weights of what they leave: the paper's future work.

    The plan of the groups of filters, which take `filter_share` of the ratio, and a step behind it: of the weights that
    are left, every layer gives up the same share, so that the ratio is reached. Masks are not nested as the ratio
    grows: a weight may lose its filter.
    """

    def __init__(self, settings: PruneSettings, layout: Layout, price: Price | None = None) -> None:
        self.asked = settings  # of channels and weights together
        self.ratio = settings.ratio
        self.total = sum(torch.Size(layer.shape).numel() for layer in layout.layers.values())
        ratio = settings.ratio * settings.filter_share
        super().__init__(dataclasses.replace(settings, granularity="filter_group", ratio=ratio), layout, price)
        self._check_minimum({name: torch.Size(layer.shape).numel() for name, layer in layout.layers.items()})

    def masks(self, scores: Scores, *, counts: Counts | None = None, final: bool = False) -> Masks:
        """The best weights of what the best channels leave; `counts` are those of the channels."""
        importance = self.units.importance(scores)
        counts = self.counts(importance) if counts is None else counts
        kept = {pool: top_k(values, counts[pool]) for pool, values in importance.items()}
        left = self.units.masks(kept, final=True)
        alive = sum(int(mask.sum()) for mask in left.values())
        # The share of the rest that goes; the groups may have overshot by a few weights.
        ratio = max(0.0, 1 - (1 - self.ratio) * self.total / alive)
        answer = {}
        for name, mask in left.items():
            values = torch.where(mask, scores[name].detach().abs(), -1.0)
            whole = int(mask.sum())
            keep = max(min(self.settings.min_keep, whole), kept_units(whole, ratio))
            answer[name] = top_k(values, keep) & mask
        if final:
            return answer
        # The filters that go are computed as long as scores are trained: see `FilterGroups`.
        reading = self.units.masks(kept, final=False)
        return {name: reading[name] & (answer[name] | ~left[name]) for name in left}

    def check(self, masks: Masks) -> None:
        """Refuse masks that do not keep what was asked."""
        found, slack = sum(int(mask.sum()) for mask in masks.values()), len(masks) * self.settings.min_keep
        expected = (1 - self.ratio) * self.total
        # Where whole channels reach the ratio alone, they miss it by less than a step.
        whole = sum(int(mask.sum()) for mask in self.units.masks(self.units.kept(masks), final=True).values())
        if found > expected + slack or found < min(expected - slack, whole):
            raise ValueError(f"expected {expected:.0f} weights kept, up to rounding, found {found}")

    def _impossible(self, most: float) -> str:
        asked = self.asked
        return (
            f"prune.ratio: expected at most {int(most / asked.filter_share * 1e4) / 1e4} for granularity=hybrid with "
            f"prune.filter_share={asked.filter_share}, prune.min_keep={asked.min_keep} and prune.multiple="
            f"{asked.multiple}, got {asked.ratio}"
        )

    def _check_minimum(self, sizes: Counts) -> None:
        settings, self.settings = self.settings, self.asked
        try:
            super()._check_minimum(sizes)
        finally:
            self.settings = settings


def mask_plan(settings: PruneSettings, layout: Layout, price: Price | None = None) -> MaskPlan:
    """The plan for the granularity that is asked."""
    return (HybridPlan if settings.granularity == "hybrid" else MaskPlan)(settings, layout, price)


def units_of(settings: PruneSettings, layout: Layout) -> Units:
    """The units that are kept or removed as a whole; of `hybrid` the groups of filters."""
    if settings.granularity in GROUPED:
        return FilterGroups(layout)
    if settings.granularity == "nm":
        return LayerUnits(Blocks(settings.block), layout)
    return LayerUnits(GRANULARITIES[settings.granularity](), layout)


def _price(budget: str, layout: Layout) -> Price:
    """Weights, or multiplications for one image, of a layer with so many filters and input channels."""

    def price(name: str, filters: float, inputs: float) -> float:
        layer: Any = layout.layers[name]
        area = layer.shape[2] * layer.shape[3]
        return filters * inputs * area * (layer.positions if budget == "flops" else 1)

    return price
