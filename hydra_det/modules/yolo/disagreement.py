"""How far two answers of a YOLO network about the same images are apart, in the units of its detection loss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from hydra_det.modules.yolo.decode import decode_boxes
from hydra_det.modules.yolo.loss import LossSettings
from hydra_det.types import LossTerms


def yolo_disagreement(
    raw: Sequence[Tensor],
    other: Sequence[Tensor],
    *,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    scales: Sequence[float],
    settings: LossSettings,
) -> LossTerms:
    """What a second answer loses against a first one; 0 where both are equal, never below.

    Objectness and classes are independent logistic units, so their part is the Kullback-Leibler divergence of `other`
    from `raw`, unit by unit, as in TRADES (Zhang et al. 2019, arXiv 1901.08573); that of boxes is the CIoU loss.
    Classes and boxes mean something only where there is an object: they count by the objectness of `raw`.

    Args:
        raw: per level [B, A, H, W, 5 + C] logits; any float type, computed in float32. Gradients go to both answers.
        other: the same shapes.
        anchors: per level [A, 2] in pixels of the network input.
        strides: per level, pixels a cell.
        scales: per level, how far a centre reaches; see `decode_boxes`.
        settings: weights of the terms.

    Returns:
        Weighted terms, [B] each, summed over an image.
    """
    nothing = raw[0].new_zeros(raw[0].shape[0], dtype=torch.float32)
    box, objectness, classification = nothing, nothing, nothing
    for one, two, shapes, stride, scale in zip(raw, other, anchors, strides, scales, strict=True):
        boxes, others = (decode_boxes(maps.float(), shapes, stride, scale).flatten(1, 3) for maps in (one, two))
        first, second = (maps.float().flatten(1, 3) for maps in (one, two))  # [B, N, 5 + C]
        certainty = first[..., 4].sigmoid().detach()  # [B, N]
        box = box + (certainty * complete_box_iou_loss(others, boxes)).sum(1)
        objectness = objectness + _divergence(first[..., 4], second[..., 4]).sum(1)
        classes = _divergence(first[..., 5:], second[..., 5:]).sum(2)  # [B, N]
        classification = classification + (certainty * classes).sum(1)
    return LossTerms(
        box=box * settings.box_weight,
        objectness=objectness * settings.objectness_weight,
        classification=classification * settings.classification_weight,
    )


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """Kullback-Leibler divergence of logistic units, from logits of any shape, in nats."""
    wanted = first.sigmoid()
    cross, entropy = (
        F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") for logits in (second, first)
    )
    return cross - entropy
