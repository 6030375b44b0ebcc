"""Top-k masks with exact counts (HYDRA, Sehwag et al. 2020, arXiv 2002.10509)."""

import numpy as np
import torch
from torch import Tensor

from hydra_det.types import InputError, as_fraction


def kept_units(units: int, ratio: float) -> int:
    """How many of `units` stay when the fraction `ratio` in [0, 1) is removed.

    Example:
        >>> kept_units(10, 0.9)
        1
    """
    if not 0 <= ratio < 1:
        raise InputError(f"prune.ratio: expected a fraction removed in [0, 1), got {as_fraction(ratio)}")
    return units - round(ratio * units)


def top_k(importance: Tensor, keep: int) -> Tensor:
    """True at the `keep` largest values of `importance`, among equal ones at the first in index order.

    Selecting through the k-th value instead of a sort makes ties deterministic, the masks nested as `keep` grows, and
    costs about a tenth. The order is the logical one, whatever the memory format.

    Args:
        importance: any shape, finite.
        keep: in [0, importance.numel()].

    Returns:
        Boolean tensor of the shape of `importance` with exactly `keep` true entries.
    """
    flat = importance.detach().reshape(-1).float()
    count = flat.numel()
    if not 0 <= keep <= count:
        raise ValueError(f"top_k: expected keep in [0, {count}], got {keep}")
    if not torch.isfinite(flat).all():
        raise InputError("top_k: expected finite scores, got NaN or infinity; lower the learning rate of the scores")
    if keep in (0, count):
        return torch.full(importance.shape, keep == count, dtype=torch.bool, device=importance.device)
    threshold = _kth_smallest(flat, count - keep + 1)
    mask = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    mask[ties[: keep - int(mask.sum())]] = True
    return mask.reshape(importance.shape)


def _kth_smallest(flat: Tensor, k: int) -> Tensor:
    """The k-th smallest value, counted from 1. [N] float -> scalar"""
    if flat.device.type == "cpu":
        # The same value as `kthvalue` in an eighth of its time; a mask is refreshed after every step.
        return torch.as_tensor(np.partition(flat.numpy(), k - 1)[k - 1])
    # Not `kthvalue`: a GPU gives it a single block of threads, so that all scores of YOLOv3 take several times as long
    # as sorting them; and it is refused where deterministic algorithms are asked for.
    return flat.sort().values[k - 1]
