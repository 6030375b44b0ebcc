"""What a detection is worth to AP where it stands in the ranking of all detections, by confidence.

AP ranks the detections of a whole data set, and an attack sees a batch at a time. So the ranking remembers how earlier
batches ended: what a detection costs in a batch of eight images is another thing than what it costs in the set. All
classes stand in one ranking, and every object counts alike: there are too few objects of a class for one of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Of confidences, at which worths are tabulated: first, last, how many. From below those that count to the most certain
# that float32 tells from 1: where the table ended, the gradient would.
LOG_ODDS = (-7.0, 14.0, 169)


class Worth(NamedTuple):
    """What a detection adds to AP at every threshold, on the grid of `LOG_ODDS`."""

    right: Tensor  # [K, T], if it finds an object
    wrong: Tensor  # [K, T], what it takes away if it does not


class Ranking:
    """The detections of all batches so far, as an attack left them."""

    def __init__(self) -> None:
        self._earlier: list[tuple[Tensor, Tensor]] = []  # confidences [N] and shares [N, T] of every batch
        self._latest: tuple[Tensor, Tensor] | None = None

    def worth(self, confidences: Tensor, right: Tensor) -> Worth:
        """What every confidence is worth beside these detections of the present batch and all of earlier ones.

        Args:
            confidences: [N], in any order.
            right: [N, T], to what share each finds an object, by threshold of overlap.
        """
        self._latest = confidences, right
        together = [*self._earlier, self._latest]
        return _worth_of(torch.cat([part for part, _ in together]), torch.cat([part for _, part in together]))

    def next_batch(self) -> None:
        """Keep what the present batch was last asked with; another one begins."""
        if self._latest is not None:
            self._earlier.append(self._latest)
            self._latest = None


def _worth_of(confidences: Tensor, right: Tensor) -> Worth:
    """What every confidence is worth beside detections [N], right to a share of [N, T]."""
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
    return Worth(own + raised[above], lowered[above])


def read(table: Tensor, confidences: Tensor) -> Tensor:
    """A table on the grid at some confidences, linear between its points. [K, T], [B, M] -> [B, M, T]"""
    first, last, count = LOG_ODDS
    log_odds = torch.logit(confidences.clamp(1e-6, 1 - 1e-6))
    place = ((log_odds - first) * ((count - 1) / (last - first))).clamp(0, count - 1 - 1e-3)
    below = place.detach().long()
    share = (place - below)[..., None]
    return table[below] * (1 - share) + table[below + 1] * share


def _grid(like: Tensor) -> Tensor:
    return torch.linspace(*LOG_ODDS, device=like.device, dtype=like.dtype)
