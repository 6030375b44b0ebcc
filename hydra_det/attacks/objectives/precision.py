"""What AP loses, as an objective: differentiable to first order, an image at a time.

A detection loss asks for confident, well placed boxes. AP asks for something else: in which order right and wrong
detections stand, over all images, and at how many thresholds of overlap a box is right. So raising the loss is a
detour, and an attack that takes it reports more AP than is left.

To first order AP is a sum over detections (`evaluation.robustness`): a right one adds the precision at its confidence
and raises that of all right ones below it, a wrong one lowers theirs. Both worths are functions of the confidence, read
from all detections of the batch and held fixed; what is differentiated is where a detection stands on them, and the
share of the thresholds at which it is right, each a steep sigmoid of its overlap with an object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from hydra_det.types import Candidates, Target

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # of overlap, as for AP@[.5:.95]
SHARPNESS = 0.05  # overlap over which a sigmoid takes the place of a threshold
LEAST, MOST = 0.001, 100  # confidence of a detection that counts, and how many of an image, as in COCO's AP
LOOKED_AT = 200  # (box, class) pairs of an image, the most certain ones
LOG_ODDS = (-7.0, 7.0, 113)  # of confidences, at which worths are tabulated: first, last, how many


class Ranked(NamedTuple):
    """The most certain (box, class) pairs of every image, M of them, the most certain first."""

    boxes: Tensor  # [B, M, 4]
    confidences: Tensor  # [B, M]
    labels: Tensor  # [B, M]
    kept: Tensor  # [B, M] bool, by suppression


class Worth(NamedTuple):
    """What a detection adds to AP, on the grid of `LOG_ODDS`."""

    right: Tensor  # [K], if it finds an object
    wrong: Tensor  # [K], what it takes away if it does not


def lost_precision(
    candidates: Candidates, targets: Sequence[Target], *, overlap: float, boxes: bool = True, confidences: bool = True
) -> Tensor:
    """Minus what the detections of every image add to AP, to first order and as a share of all objects. -> [B]

    Args:
        candidates: of a batch, with gradients.
        targets: the ground truth.
        overlap: above which suppression removes the less certain of two boxes of a class.
        boxes: let the gradient pass through the boxes.
        confidences: let the gradient pass through the confidences.
    """
    found = _ranked(candidates, overlap)
    found = found._replace(
        boxes=found.boxes if boxes else found.boxes.detach(),
        confidences=found.confidences if confidences else found.confidences.detach(),
    )
    right = _right(found, targets)  # [B, M, T]
    worth = _worth(found.confidences.detach()[found.kept], right.detach()[found.kept])
    share = right.mean(2)
    adds = share * _read(worth.right, found.confidences) - (1 - share) * _read(worth.wrong, found.confidences)
    objects = sum(len(target["labels"]) for target in targets)
    return -(adds * found.kept).sum(1) / max(1, objects)


def _ranked(candidates: Candidates, overlap: float) -> Ranked:
    """The pairs that are looked at, and which of them suppression keeps."""
    batch, _, classes = candidates.confidences.shape
    every = candidates.confidences.flatten(1)  # [B, N * C]
    top = every.detach().topk(min(LOOKED_AT, every.shape[1]), dim=1).indices
    boxes = candidates.boxes.gather(1, (top // classes)[..., None].expand(-1, -1, 4))
    confidences, labels = every.gather(1, top), top % classes
    with torch.no_grad():
        apart = labels + classes * torch.arange(batch, device=labels.device)[:, None]  # a class of an image
        places = batched_nms(boxes.flatten(0, 1), confidences.flatten(), apart.flatten(), overlap)
        kept = torch.zeros_like(labels, dtype=torch.bool).flatten().index_fill_(0, places, True).view_as(labels)
        kept &= confidences >= LEAST
        kept &= kept.cumsum(1) <= MOST
    return Ranked(boxes, confidences, labels, kept)


def _right(found: Ranked, targets: Sequence[Target]) -> Tensor:
    """To what share a detection is the first to find its object, at every threshold. [B, M, T]"""
    boxes, labels = _padded(targets, found.boxes)
    overlaps = torch.where(found.labels[:, :, None] == labels[:, None], _overlaps(found.boxes, boxes), 0.0)
    best, owner = overlaps.max(2)  # [B, M]
    thresholds = best.new_tensor(THRESHOLDS)
    reaches = torch.sigmoid((best[..., None] - thresholds) / SHARPNESS)
    reaches = reaches * ((best > 0) & found.kept)[..., None]
    owns = F.one_hot(owner, labels.shape[1]).to(reaches)[..., None]  # [B, M, G, 1]
    leaves = (1 - reaches).clamp(min=1e-4).log()[:, :, None] * owns  # of its object to the less certain ones
    before = leaves.cumsum(1) - leaves
    return reaches * (before * owns).sum(2).exp()


def _worth(confidences: Tensor, right: Tensor) -> Worth:
    """By what every confidence is worth beside the detections [N] of a batch, [N, T] of which are right."""
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
    return Worth((own + raised[above]).mean(1), lowered[above].mean(1))


def _read(table: Tensor, confidences: Tensor) -> Tensor:
    """A table on the grid at some confidences, linear between its points."""
    first, last, count = LOG_ODDS
    log_odds = torch.logit(confidences.clamp(1e-6, 1 - 1e-6))
    place = ((log_odds - first) * ((count - 1) / (last - first))).clamp(0, count - 1 - 1e-3)
    below = place.detach().long()
    share = place - below
    return table[below] * (1 - share) + table[below + 1] * share


def _grid(like: Tensor) -> Tensor:
    return torch.linspace(*LOG_ODDS, device=like.device, dtype=like.dtype)


def _padded(targets: Sequence[Target], like: Tensor) -> tuple[Tensor, Tensor]:
    """Objects of all images side by side, at least one place for each: boxes [B, G, 4], labels [B, G], -1 for none."""
    most = max(1, *(len(target["labels"]) for target in targets))
    boxes = like.new_zeros(len(targets), most, 4)
    labels = torch.full((len(targets), most), -1, device=like.device)
    for place, target in enumerate(targets):
        boxes[place, : len(target["labels"])] = target["boxes"]
        labels[place, : len(target["labels"])] = target["labels"]
    return boxes, labels


def _overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of every box of an image with every other one. [B, M, 4], [B, G, 4] -> [B, M, G]"""
    low = torch.maximum(one[:, :, None, :2], other[:, None, :, :2])
    high = torch.minimum(one[:, :, None, 2:], other[:, None, :, 2:])
    inside = (high - low).clamp(min=0).prod(3)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(2) for boxes in (one, other)]
    return inside / (areas[0][:, :, None] + areas[1][:, None] - inside).clamp(min=1e-9)
