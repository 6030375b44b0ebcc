"""What AP loses, as an objective: differentiable to first order, an image at a time.

A detection loss asks for confident, well placed boxes. AP asks for something else: in which order right and wrong
detections stand, over all images, and at how many thresholds of overlap a box is right. So raising the loss is a
detour, and an attack that takes it reports more AP than is left.

To first order AP is a sum over detections (`evaluation.robustness`): a right one adds the precision at its confidence
and raises that of all right ones below it, a wrong one lowers theirs. Both worths are functions of the confidence at a
threshold, read from a ranking (`ranking.py`) and held fixed; what is differentiated is where a detection stands on
them, and whether it is right, a steep sigmoid of its overlap with an object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from hydra_det.attacks.objectives.ranking import Ranked, Ranking, read
from hydra_det.types import Candidates, Target

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # of overlap, as for AP@[.5:.95]
SHARPNESS = 0.05  # overlap over which a sigmoid takes the place of a threshold
LEAST, MOST = 0.001, 100  # confidence of a detection that counts, and how many of an image, as in COCO's AP
LOOKED_AT = 1000  # (box, class) pairs of an image before suppression, the most certain ones


class Found(NamedTuple):
    """The detections of every image, the most certain first, M places for each."""

    boxes: Tensor  # [B, M, 4]
    confidences: Tensor  # [B, M]
    labels: Tensor  # [B, M]
    there: Tensor  # [B, M] bool; the last places of an image may hold none


def lost_average_precision(
    candidates: Candidates,
    targets: Sequence[Target],
    *,
    overlap: float,
    boxes: bool = True,
    confidences: bool = True,
    pooled: bool = False,
    ranking: Ranking | None = None,
) -> Tensor:
    """Minus what the detections of every image add to AP, to first order. -> [B]

    Args:
        candidates: of a batch, with gradients; boxes clipped to the input.
        targets: the ground truth.
        overlap: above which suppression removes the less certain of two boxes of a class.
        boxes: let the gradient pass through the boxes.
        confidences: let the gradient pass through the confidences.
        pooled: let all classes stand in one ranking, in which every object counts alike.
        ranking: of earlier batches, in which these detections take their places; None: they stand alone.
    """
    found = _found(candidates, overlap)
    found = found._replace(
        boxes=found.boxes if boxes else found.boxes.detach(),
        confidences=found.confidences if confidences else found.confidences.detach(),
    )
    right = _right(found, targets)  # [B, M, T]
    classes = candidates.confidences.shape[2]
    objects = torch.cat([target["labels"] for target in targets]).bincount(minlength=classes)  # [C]
    certain, labels, there = found.confidences, found.labels, found.there
    ranking = Ranking() if ranking is None else ranking
    batch = Ranked(certain.detach()[there], right.detach()[there], labels[there], objects)
    worth = ranking.worth(batch, pooled=pooled)
    adds = right * read(worth.right, certain, labels) - (1 - right) * read(worth.wrong, certain, labels)
    return -(adds.mean(2) * there).sum(1)


def _found(candidates: Candidates, overlap: float) -> Found:
    """What suppression leaves, with gradients."""
    batch, _, classes = candidates.confidences.shape
    every = candidates.confidences.flatten(1)  # [B, N * C]
    chosen = torch.zeros(batch, MOST, dtype=torch.int64, device=every.device)
    there = torch.zeros(batch, MOST, dtype=torch.bool, device=every.device)
    with torch.no_grad():
        for image, values in enumerate(every):
            certain, pairs = values.topk(min(LOOKED_AT, len(values)))
            pairs = pairs[certain >= LEAST]
            places = batched_nms(candidates.boxes[image, pairs // classes], values[pairs], pairs % classes, overlap)
            kept = pairs[places[:MOST]]
            chosen[image, : len(kept)], there[image, : len(kept)] = kept, True
    boxes = candidates.boxes.gather(1, (chosen // classes)[..., None].expand(-1, -1, 4))
    return Found(boxes, every.gather(1, chosen), chosen % classes, there)


def _right(found: Found, targets: Sequence[Target]) -> Tensor:
    """To what share a detection is the first to find its object, at every threshold. [B, M, T]"""
    boxes, labels = _padded(targets, found.boxes)
    overlaps = torch.where(found.labels[:, :, None] == labels[:, None], _overlaps(found.boxes, boxes), 0.0)
    best, owner = overlaps.max(2)  # [B, M]
    thresholds = best.new_tensor(THRESHOLDS)
    reaches = torch.sigmoid((best[..., None] - thresholds) / SHARPNESS)
    reaches = reaches * ((best > 0) & found.there)[..., None]
    owns = F.one_hot(owner, labels.shape[1]).to(reaches)[..., None]  # [B, M, G, 1]
    leaves = (1 - reaches).clamp(min=1e-4).log()[:, :, None] * owns  # of its object to the less certain ones
    before = leaves.cumsum(1) - leaves
    return reaches * (before * owns).sum(2).exp()


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
