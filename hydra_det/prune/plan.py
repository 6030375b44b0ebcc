"""From scores to the masks of a whole network: units, allocation, top-k.

plan = mask_plan(settings, layout)
masks = plan.masks(scores)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hydra_det.prune.allocation import ALLOCATIONS, LearnedShares, fit
from hydra_det.prune.granularity import GRANULARITIES, Blocks
from hydra_det.prune.layout import Layout
from hydra_det.prune.masks import kept_units, top_k
from hydra_det.prune.settings import GROUPED, PruneSettings
from hydra_det.prune.units import Counts, FilterGroups, LayerUnits, Price, Units
from hydra_det.types import InputError

Scores = Mapping[str, Tensor]  # layer -> [O, I, kH, kW]
Masks = dict[str, Tensor]  # layer -> [O, I, kH, kW] bool, True where a weight stays

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
        if settings.allocation == "uniform" and self.units.each_layer:
            return {pool: max(self.least[pool], kept_units(size, settings.ratio)) for pool, size in sizes.items()}
        allocation = ALLOCATIONS[settings.allocation] or self.learned
        limit = (1 - settings.ratio) * self.whole
        ladder = allocation(self.units, importance)
        counts = fit(ladder, cost=self._cost, limit=limit, least=self.least, multiple=settings.multiple)
        assert counts is not None, "the least that can be kept was checked against the budget"
        return counts

    def _start(self) -> dict[str, float]:
        """Share of every pool before any is learned, up to the level that fits the budget."""
        start = ALLOCATIONS[self.settings.start]
        if self.settings.allocation != "learned" or self.settings.start == "uniform":
            return dict.fromkeys(self.units.sizes, 0.5)
        assert start is not None
        limit = (1 - self.settings.ratio) * self.whole
        counts = fit(start(self.units, {}), cost=self._cost, limit=limit, least=self.least)
        return {pool: (counts or self.least)[pool] / size for pool, size in self.units.sizes.items()}

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
        if settings.allocation == "uniform" and self.units.each_layer:
            for pool, expected in self.counts({}).items():
                if counts[pool] != expected:
                    raise ValueError(
                        f"layer {pool}: expected {expected} of {self.units.sizes[pool]} units kept at ratio "
                        f"{settings.ratio}, found {counts[pool]}"
                    )
        # Time is never measured twice alike: that budget was met when scores were trained.
        elif settings.budget != "latency" and self._cost(counts) > (1 - settings.ratio) * self.whole * (1 + 1e-9):
            raise ValueError(
                f"expected at most {1 - settings.ratio} of the {settings.budget}, found "
                f"{self._cost(counts) / self.whole}"
            )

    def _cost(self, counts: Counts) -> float:
        return self.units.cost(counts, self.price)

    def _difference(self, counts: Counts, pool: str, more: int, fewer: int) -> float:
        return self._cost({**counts, pool: more}) - self._cost({**counts, pool: fewer})

    def _check_possible(self) -> None:
        settings = self.settings
        if settings.allocation == "uniform" and self.units.each_layer:
            return
        most = 1 - self._cost(self.least) / self.whole
        if settings.ratio > most:
            raise InputError(
                f"prune.ratio: expected at most {int(most * 1e4) / 1e4} of the {settings.budget} for granularity="
                f"{settings.granularity} with prune.min_keep={settings.min_keep} and prune.multiple="
                f"{settings.multiple}, got {settings.ratio}"
            )


class HybridPlan(MaskPlan):
    """Filters first, then single weights of what they leave: the paper's future work.

    The plan of the groups of filters, which take `filter_share` of the ratio, and a step behind it: of the weights that
    are left, every layer gives up the same share, so that the ratio is reached. Masks are not nested as the ratio
    grows: a weight may lose its filter.
    """

    def __init__(self, settings: PruneSettings, layout: Layout, price: Price | None = None) -> None:
        ratio = settings.ratio * settings.filter_share
        super().__init__(dataclasses.replace(settings, granularity="filter_group", ratio=ratio), layout, price)
        self.ratio = settings.ratio  # of channels and weights together
        self.total = sum(torch.Size(layer.shape).numel() for layer in layout.layers.values())

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
        found, layers = sum(int(mask.sum()) for mask in masks.values()), len(masks)
        expected = (1 - self.ratio) * self.total
        if abs(found - expected) > layers * self.settings.min_keep:
            raise ValueError(f"expected {expected:.0f} weights kept, up to rounding in {layers} layers, found {found}")


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
