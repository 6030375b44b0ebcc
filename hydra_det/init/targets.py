"""Targets of attribution: how much each raw output counts.

DeepLIFT explains one number per image, and it is exact where that number is a weighted sum of the raw maps. Decoded
boxes are not (exponentials, products): no target is made of them. A target therefore gives coefficients, one for every
entry of the raw maps, held fixed while the network is explained.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hydra_det.modules.raw_maps import filled, tensors_of
from hydra_det.types import InputError, Target

# Network, targets of B images, raw maps of the images [B, ...], raw maps of the reference [1, ...] or [B, ...]
# -> coefficients, one tensor for every one of the raw maps, in its shape.
Coefficients = Callable[[Any, Sequence[Target], Any, Any], list[Tensor]]

# Points at which the loss is differentiated between the reference and the images: Gauss-Legendre on [0, 1].
LOSS_POINTS = ((0.1127016654, 5 / 18), (0.5, 8 / 18), (0.8872983346, 5 / 18))


def assigned(net: Any, targets: Sequence[Target], raw: Any, _reference: Any) -> list[Tensor]:
    """How often an objectness or true-class logit is that of an anchor assigned to an object: mostly 0, else 1."""
    evidence = _verb(net, "evidence")
    return _slopes(lambda maps: evidence(maps, targets).sum(), raw)


def topk(net: Any, _targets: Sequence[Target], raw: Any, _reference: Any, *, k: int = 100) -> list[Tensor]:
    """1 for the k largest objectness logits of every image, wherever the objects are."""

    objectness = _verb(net, "objectness")

    def largest(maps: Any) -> Tensor:
        logits: Tensor = objectness(maps)  # [B, N]
        return logits.topk(min(k, logits.shape[1]), dim=1).values.sum()

    return _slopes(largest, raw)


def loss(net: Any, targets: Sequence[Target], raw: Any, reference: Any) -> list[Tensor]:
    """The mean gradient of the detection loss on the straight line from the raw maps of the reference to these.

    The coefficients times the differences of the raw maps then sum to the difference of the loss (Sundararajan et al.
    2017, arXiv 1703.01365, for the path), up to the quadrature, to the jumps of what the loss ignores and to what its
    own gradient leaves out: the weight of the aspect ratio in CIoU.
    """
    ends = tensors_of(raw)
    starts = [begin.expand_as(end) for begin, end in zip(tensors_of(reference), ends, strict=True)]
    total = [torch.zeros_like(maps) for maps in ends]
    for place, weight in LOSS_POINTS:
        maps = [begin + place * (end - begin) for begin, end in zip(starts, ends, strict=True)]
        slopes = _slopes(lambda at: net.losses(at, targets).total.sum(), filled(raw, maps))
        total = [whole + weight * part for whole, part in zip(total, slopes, strict=True)]
    return total


TARGETS: dict[str, Coefficients] = {"assigned": assigned, "topk": topk, "loss": loss}


def _verb(net: Any, name: str) -> Callable[..., Tensor]:
    """What a network must be able to say of its raw maps for a target; every one knows its loss."""
    if not hasattr(net, name):
        raise InputError(
            f"init.target: expected a network with a method {name}, got {type(net).__name__}; use init.target=loss"
        )
    return getattr(net, name)


def _slopes(function: Callable[[Any], Tensor], raw: Any) -> list[Tensor]:
    """Gradient of a scalar of raw maps with respect to each of their tensors."""
    with torch.enable_grad():
        maps = [level.detach().requires_grad_() for level in tensors_of(raw)]
        found = torch.autograd.grad(function(filled(raw, maps)), maps, allow_unused=True)
    return [torch.zeros_like(level) if slope is None else slope for level, slope in zip(maps, found, strict=True)]
