"""The loss of YOLOv3 (arXiv 1804.02767): box, objectness and classification, one value per image.

Objectness and classes are independent logistic units. An object is assigned to the anchor whose shape fits best (and,
if asked, to every anchor that fits well); predictions that overlap an object well without being assigned to it are not
punished. All terms are sums over an image, as in Darknet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from hydra_det.modules.yolo.decode import decode_boxes
from hydra_det.types import InputError, LossTerms, Target

OBJECTS_AT_ONCE = 256  # of a batch, compared with all predictions of their images


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights and choices of the loss.

    Attributes:
        box_weight: weight of the box term.
        objectness_weight: weight of the objectness term.
        classification_weight: weight of the classification term.
        box_loss: `ciou` (Zheng et al. 2020, arXiv 1911.08287) or `mse` on the box logits as in Darknet.
        ignore_iou: a prediction that overlaps an object more than this is not taught to be background.
        anchor_iou: anchors whose shape overlaps the object's more than this are assigned besides the best one; 1
            assigns the best one alone, as YOLOv3 does, on every level that has it.
    """

    box_weight: float = 2.0
    objectness_weight: float = 1.0
    classification_weight: float = 3.0
    box_loss: str = "ciou"
    ignore_iou: float = 0.7
    anchor_iou: float = 0.4

    def __post_init__(self) -> None:
        if self.box_loss not in BOX_LOSSES:
            raise InputError(f"model.loss.box_loss: expected one of {', '.join(BOX_LOSSES)}, got {self.box_loss!r}")


class Assignment(NamedTuple):
    """Which cells of one raw map answer for which objects: K pairs."""

    image: Tensor  # [K] index in the batch
    anchor: Tensor  # [K]
    row: Tensor  # [K]
    column: Tensor  # [K]
    boxes: Tensor  # [K, 4] xyxy in pixels of the network input
    labels: Tensor  # [K]

    @property
    def cells(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The index of the pairs in a raw map or in decoded boxes [B, A, H, W, ...]."""
        return self.image, self.anchor, self.row, self.column


def yolo_losses(
    raw: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    scales: Sequence[float],
    settings: LossSettings,
) -> LossTerms:
    """The loss terms of a batch.

    Args:
        raw: per level [B, A, H, W, 5 + C] logits; any float type, computed in float32.
        targets: B of them.
        anchors: per level [A, 2] in pixels of the network input.
        strides: per level, pixels a cell.
        scales: per level, how far a centre reaches; see `decode_boxes`.
        settings: weights and choices.

    Returns:
        Weighted terms, [B] each.
    """
    batch = raw[0].shape[0]
    levels = [level.float() for level in raw]
    decoded = [decode_boxes(*level) for level in zip(levels, anchors, strides, scales, strict=True)]
    near = _near_objects(decoded, targets, settings.ignore_iou)
    pairs = assign(raw, targets, anchors=anchors, strides=strides, anchor_iou=settings.anchor_iou)

    # The pairs of all levels together: few large operations instead of many small ones.
    image = torch.cat([level.image for level in pairs])  # [K]
    wanted = torch.cat([level.boxes for level in pairs]).float()  # [K, 4]
    predicted = torch.cat([boxes[level.cells] for boxes, level in zip(decoded, pairs, strict=True)])  # [K, 4]
    cell = torch.cat(
        [boxes.new_full(level.image.shape, s) for level, s, boxes in zip(pairs, strides, decoded, strict=True)]
    )  # [K]
    area = levels[0].shape[2] * levels[0].shape[3] * strides[0] ** 2
    box = BOX_LOSSES[settings.box_loss](predicted, wanted, cell, area)  # [K]
    logits = torch.cat([maps[level.cells] for maps, level in zip(levels, pairs, strict=True)])[:, 5:]  # [K, C]
    classes = F.one_hot(torch.cat([level.labels for level in pairs]), logits.shape[1]).to(logits.dtype)
    classification = F.binary_cross_entropy_with_logits(logits, classes, reduction="none").sum(1)  # [K]

    nothing = levels[0].new_zeros(batch)
    objectness = sum((_objectness(*level) for level in zip(levels, pairs, near, strict=True)), start=nothing)
    return LossTerms(
        box=nothing.index_add(0, image, box) * settings.box_weight,
        objectness=objectness * settings.objectness_weight,
        classification=nothing.index_add(0, image, classification) * settings.classification_weight,
    )


def assign(
    raw: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    anchor_iou: float,
) -> list[Assignment]:
    """Assign every object to the cell under its centre, at the anchors that fit its shape; one answer per level."""
    boxes = torch.cat([target["boxes"] for target in targets])
    labels = torch.cat([target["labels"] for target in targets])
    image = _owners(targets, boxes.device)
    shapes = torch.cat(list(anchors))  # [all anchors, 2]
    fits = shape_iou(boxes[:, 2:] - boxes[:, :2], shapes)  # [M, all anchors]
    matched = fits > anchor_iou
    if len(boxes):
        # The best one wherever it stands: an anchor of two levels is asked on both.
        matched |= (shapes[fits.argmax(1)][:, None] == shapes[None]).all(2)
    answer, first = [], 0
    for level, level_anchors, stride in zip(raw, anchors, strides, strict=True):
        objects, anchor = matched[:, first : first + len(level_anchors)].nonzero(as_tuple=True)
        first += len(level_anchors)
        centre = (boxes[objects, :2] + boxes[objects, 2:]) / 2 / stride
        column = centre[:, 0].long().clamp(0, level.shape[3] - 1)
        row = centre[:, 1].long().clamp(0, level.shape[2] - 1)
        answer.append(Assignment(image[objects], anchor, row, column, boxes[objects], labels[objects]))
    return answer


def assigned_logits(
    raw: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    anchor_iou: float,
) -> Tensor:
    """Objectness plus true-class logit, summed over the anchors assigned to objects: linear in the raw maps. -> [B]"""
    total = raw[0].new_zeros(raw[0].shape[0])
    levels = assign(raw, targets, anchors=anchors, strides=strides, anchor_iou=anchor_iou)
    for maps, pairs in zip(raw, levels, strict=True):
        logits = maps[pairs.cells]  # [K, 5 + C]
        true_class = logits[:, 5:].gather(1, pairs.labels[:, None]).squeeze(1)
        total = total.index_add(0, pairs.image, logits[:, 4] + true_class)
    return total


def assigned_margins(
    raw: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    anchor_iou: float,
) -> Tensor:
    """By how much the objects of an image are found, summed over the anchors assigned to them. -> [B]

    An anchor finds its object if its objectness logit is above 0 and the logit of the true class above those of all
    others. Its margin is the smaller of the two distances, and 0 where one of them is not kept, as in the margin loss
    of Carlini and Wagner (2017, arXiv 1608.04644). Computed in float32.
    """
    total = raw[0].new_zeros(raw[0].shape[0], dtype=torch.float32)
    levels = assign(raw, targets, anchors=anchors, strides=strides, anchor_iou=anchor_iou)
    for maps, pairs in zip(raw, levels, strict=True):
        logits = maps[pairs.cells].float()  # [K, 5 + C]
        margin = logits[:, 4]
        if logits.shape[1] > 6:
            true = F.one_hot(pairs.labels, logits.shape[1] - 5).bool()  # [K, C]
            others = logits[:, 5:].masked_fill(true, -torch.inf).amax(1)
            margin = torch.minimum(margin, logits[:, 5:][true] - others)
        total = total.index_add(0, pairs.image, margin.clamp(min=0))
    return total


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """IoU of boxes that share their centre. [M, 2], [A, 2] width and height -> [M, A]"""
    overlap = torch.minimum(sizes[:, None], anchors[None]).prod(2)
    return overlap / (sizes.prod(1)[:, None] + anchors.prod(1)[None] - overlap)


def _ciou(predicted: Tensor, wanted: Tensor, _cell: Tensor, _area: int) -> Tensor:
    return complete_box_iou_loss(predicted, wanted)  # [K]


def _mse(predicted: Tensor, wanted: Tensor, cell: Tensor, area: int) -> Tensor:
    """Darknet's: squared errors of the centre in cells and of the log size; small boxes weigh more, by 2 - share."""
    size = wanted[:, 2:] - wanted[:, :2]
    predicted_size = (predicted[:, 2:] - predicted[:, :2]).clamp(min=1e-3)  # below, corners coincide in float32
    centre = (predicted[:, :2] + predicted[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2 / cell[:, None]
    error = torch.cat([centre, predicted_size.log() - size.log()], dim=1).square().sum(1)
    return error * (2 - size.prod(1) / area)  # [K]


BOX_LOSSES = {"ciou": _ciou, "mse": _mse}


def _objectness(logits: Tensor, pairs: Assignment, near: Tensor) -> Tensor:
    """One level: [B, A, H, W, 5 + C] -> [B]"""
    certainty = logits[..., 4]
    wanted = torch.zeros_like(certainty)
    wanted[pairs.cells] = 1.0
    weight = torch.where(near & (wanted == 0), 0.0, 1.0)
    return F.binary_cross_entropy_with_logits(certainty, wanted, weight, reduction="none").sum((1, 2, 3))


def _near_objects(decoded: Sequence[Tensor], targets: Sequence[Target], ignore_iou: float) -> list[Tensor]:
    """Where a prediction overlaps any object of its image well. Per level [B, A, H, W, 4] -> [B, A, H, W] bool

    The objects of all images at once: on a GPU a loop over images takes longer than the network. Not too many at once,
    for the sake of memory.
    """
    boxes = torch.cat([level.detach().flatten(1, 3) for level in decoded], dim=1)  # [B, N, 4]
    objects = torch.cat([target["boxes"] for target in targets]).to(boxes.dtype)  # [M, 4]
    sides = boxes.permute(2, 0, 1).contiguous()  # [4, B, N]
    found = boxes.new_zeros(boxes.shape[:2], dtype=torch.int32)
    for owners, some in zip(
        _owners(targets, boxes.device).split(OBJECTS_AT_ONCE), objects.split(OBJECTS_AT_ONCE), strict=True
    ):
        overlaps = _iou(sides[:, owners], some.T[:, :, None]) > ignore_iou  # [M', N]
        found.index_add_(0, owners, overlaps.int())
    parts = (found > 0).split([level[0, ..., 0].numel() for level in decoded], dim=1)
    return [part.view(level.shape[:-1]) for part, level in zip(parts, decoded, strict=True)]


def _owners(targets: Sequence[Target], device: torch.device) -> Tensor:
    """Which image of the batch each object belongs to, in the order of the targets. [M]"""
    return torch.tensor([i for i, target in enumerate(targets) for _ in target["labels"]], device=device).long()


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU pair by pair of boxes x1, y1, x2, y2 in the first dimension; the others broadcast. [4, ...], [4, ...]"""
    width = torch.minimum(first[2], second[2]) - torch.maximum(first[0], second[0])
    height = torch.minimum(first[3], second[3]) - torch.maximum(first[1], second[1])
    overlap = width.clamp(min=0) * height.clamp(min=0)
    area, other = ((boxes[2] - boxes[0]) * (boxes[3] - boxes[1]) for boxes in (first, second))
    return overlap / (area + other - overlap)
