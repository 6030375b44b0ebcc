"""What a detection is worth to AP where it stands in the ranking of all detections, by confidence.

AP ranks the detections of a whole data set, and an attack sees a batch at a time. So the ranking remembers how earlier
batches ended: what a detection costs in a batch of eight images is another thing than what it costs in the set.

AP is a mean over classes, so an object of a rare class is worth more. What a detection is worth is read in the ranking
of its class; with few objects that is little more than chance, and the ranking of all classes stands in for it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Of confidences, at which worths are tabulated: first, last, how many. From below those that count to the most certain
# that float32 tells from 1: where the table ended, the gradient would.
LOG_ODDS = (-7.0, 14.0, 169)
FEW = 50  # objects with which the ranking of a class counts as much as that of all


class Worth(NamedTuple):
    """What a detection of a class adds to AP at every threshold, on the grid of `LOG_ODDS`."""

    right: Tensor  # [C, K, T], if it finds an object
    wrong: Tensor  # [C, K, T], what it takes away if it does not


class Ranked(NamedTuple):
    """The detections of a batch, in any order, beside its objects."""

    confidences: Tensor  # [N]
    right: Tensor  # [N, T], to what share each finds an object, by threshold of overlap
    labels: Tensor  # [N]
    objects: Tensor  # [C], of every class


class Ranking:
    """The detections of all batches so far: of earlier ones as they were when an attack last asked for them."""

    def __init__(self) -> None:
        self._earlier: list[Ranked] = []  # of every batch
        self._latest: Ranked | None = None

    def worth(self, batch: Ranked, *, pooled: bool = False) -> Worth:
        """What a detection is worth beside those of the present batch and of all earlier ones, by class.

        Where it is `pooled` all classes stand in one ranking, in which every object counts alike.
        """
        self._latest = batch
        confidences, right, labels, objects = zip(*[*self._earlier, batch], strict=True)
        every = Ranked(torch.cat(confidences), torch.cat(right), torch.cat(labels), torch.stack(objects).sum(0))
        return _worth_of_all(every) if pooled else _worth_of_classes(every)

    def next_batch(self) -> None:
        """Keep what the present batch was last asked with; another one begins."""
        if self._latest is not None:
            self._earlier.append(self._latest)
            self._latest = None


def _worth_of_all(ranked: Ranked) -> Worth:
    """The same for all classes."""
    share = 1 / max(1, int(ranked.objects.sum()))
    tables = [share * table for table in _curves(ranked.confidences, ranked.right)]
    right_ones, wrong_ones = (table.expand(len(ranked.objects), *table.shape) for table in tables)
    return Worth(right_ones, wrong_ones)


def _worth_of_classes(ranked: Ranked) -> Worth:
    """By what AP, the mean over classes that have objects, changes."""
    confidences, right, labels, objects = ranked
    every = _curves(confidences, right)
    counts = objects.tolist()
    present = max(1, sum(count > 0 for count in counts))
    found = []
    for label, count in enumerate(counts):
        its = labels == label
        own = count / (count + FEW)
        share = 1 / (count * present) if count else 0.0  # of the class in AP, an object of it
        pairs = zip(_curves(confidences[its], right[its]), every, strict=True)
        found.append([share * (own * apart + (1 - own) * together) for apart, together in pairs])
    right_ones, wrong_ones = zip(*found, strict=True)
    return Worth(torch.stack(right_ones), torch.stack(wrong_ones))


def _curves(confidences: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """By what the sum of precisions at right detections changes with one more. [N], [N, T] -> [K, T] right, wrong"""
    order = confidences.argsort(descending=True)
    confidences, right = confidences[order].contiguous(), right[order]
    rank = torch.arange(1, len(order) + 1, device=right.device)[:, None]
    hits = right.cumsum(0)
    precision = hits / rank
    nothing = right.new_zeros(1, right.shape[1])
    # Sums over the right ones from a place on.
    raised, lowered = (
        torch.cat([(right * change / (rank + 1)).flip(0).cumsum(0).flip(0), nothing])
        for change in (1 - precision, precision)
    )
    above = torch.searchsorted(-confidences, -_grid(confidences).sigmoid(), right=True)  # that are at least as certain
    own = (torch.cat([nothing, hits])[above] + 1) / (above[:, None] + 1)
    return own + raised[above], lowered[above]


def read(table: Tensor, confidences: Tensor, labels: Tensor) -> Tensor:
    """A table on the grid at some confidences, linear between its points. [C, K, T], [B, M], [B, M] -> [B, M, T]"""
    first, last, count = LOG_ODDS
    log_odds = torch.logit(confidences.nan_to_num(0.0).clamp(1e-6, 1 - 1e-6))
    place = ((log_odds - first) * ((count - 1) / (last - first))).clamp(0, count - 1 - 1e-3)
    below = place.detach().long()
    share = (place - below)[..., None]
    return table[labels, below] * (1 - share) + table[labels, below + 1] * share


def _grid(like: Tensor) -> Tensor:
    return torch.linspace(*LOG_ODDS, device=like.device, dtype=like.dtype)
