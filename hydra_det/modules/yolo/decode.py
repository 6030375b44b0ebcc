"""From raw maps to boxes: YOLOv3's decoding (arXiv 1804.02767, section 2.1) and non-maximum suppression.

A raw map is [B, A, H, W, 5 + C]: for each of the A anchors of a cell the logits tx, ty, tw, th, objectness and C class
logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from hydra_det.types import Candidates, Detections, NotFiniteError

# exp(tw) of an untrained network may overflow, or collapse to a box without area, whose CIoU has no gradient. exp(10)
# is 22,026 times the anchor: neither that nor its inverse is a real box.
MAX_LOG_SCALE = 10.0


def decode_boxes(raw: Tensor, anchors: Tensor, stride: int, scale: float = 1.0) -> Tensor:
    """Boxes of one raw map.

    Args:
        raw: [B, A, H, W, 5 + C].
        anchors: [A, 2] width and height in pixels of the network input.
        stride: pixels a cell.
        scale: Darknet's `scale_x_y`: above 1 a centre reaches beyond its cell, by (scale - 1) / 2 cells on every side,
            so that the edge of a cell is no longer infinitely far (Bochkovskiy et al. 2020, arXiv 2004.10934).

    Returns:
        [B, A, H, W, 4] float32, xyxy in pixels of the network input, not clipped.
    """
    height, width = raw.shape[2:4]
    xywh = raw[..., :4].float()
    rows = torch.arange(height, device=raw.device).view(height, 1)
    columns = torch.arange(width, device=raw.device).view(1, width)
    centre_in_cell = xywh[..., :2].sigmoid() * scale - (scale - 1) / 2
    x = (centre_in_cell[..., 0] + columns) * stride
    y = (centre_in_cell[..., 1] + rows) * stride
    half = xywh[..., 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() * anchors.float().view(1, -1, 1, 1, 2) / 2
    centre = torch.stack([x, y], dim=-1)
    return torch.cat([centre - half, centre + half], dim=-1)


def decode(
    raw: Sequence[Tensor], anchors: Sequence[Tensor], strides: Sequence[int], scales: Sequence[float]
) -> Candidates:
    """All boxes of all maps with a confidence per class."""
    boxes, confidences = [], []
    for level, level_anchors, stride, scale in zip(raw, anchors, strides, scales, strict=True):
        boxes.append(decode_boxes(level, level_anchors, stride, scale).flatten(1, 3))
        certainty = level[..., 4:].float().sigmoid()
        confidences.append((certainty[..., :1] * certainty[..., 1:]).flatten(1, 3))
    return Candidates(torch.cat(boxes, dim=1), torch.cat(confidences, dim=1))


def suppress(
    candidates: Candidates,
    *,
    image_size: tuple[int, int],
    confidence: float = 0.001,
    iou: float = 0.6,
    max_detections: int = 100,
    max_candidates: int = 3000,
) -> list[Detections]:
    """Class-wise greedy non-maximum suppression.

    A box answers for every class whose confidence reaches the floor, as in Darknet.

    Args:
        candidates: of a batch.
        image_size: (height, width) of the network input; boxes are clipped to it.
        confidence: lowest confidence that counts.
        iou: of two boxes of one class that overlap more than this the less certain one goes.
        max_detections: per image, the most certain ones.
        max_candidates: per image, the most certain (box, class) pairs that enter the suppression.

    Returns:
        One `Detections` per image.

    Raises:
        NotFiniteError: a candidate is not a number. It would not reach the floor: a broken network would seem to find
            nothing, and its AP to be 0.
    """
    sums = candidates.confidences.flatten(1).sum(1) + candidates.boxes.flatten(1).sum(1)  # [B]; NaN spreads to them
    if broken := (~sums.isfinite()).nonzero().flatten().tolist():
        raise NotFiniteError(
            f"network: expected finite answers, got some that are not for {len(broken)} of the {len(sums)} images of a "
            "batch; its weights or its BatchNorm statistics are broken, or the images are",
            positions=broken,
        )
    height, width = image_size
    found = []
    for boxes, confidences in zip(candidates.boxes, candidates.confidences, strict=True):
        rows, labels = (confidences >= confidence).nonzero(as_tuple=True)
        values = confidences[rows, labels]
        if values.numel() > max_candidates:
            values, best = values.topk(max_candidates)
            rows, labels = rows[best], labels[best]
        limit = boxes.new_tensor([width, height, width, height])
        kept_boxes = torch.minimum(boxes[rows].clamp(min=0), limit)
        keep = batched_nms(kept_boxes, values, labels, iou)[:max_detections]
        found.append(Detections(kept_boxes[keep], values[keep], labels[keep]))
    return found
