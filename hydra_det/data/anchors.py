"""Anchor sizes from training boxes: k-means under the distance 1 - IoU (Redmon & Farhadi 2017, YOLO9000)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.boxes import Letterbox
from hydra_det.data.samples import ImageRecord
from hydra_det.types import InputError

_RESTARTS = 5
_ITERATIONS = 300
_SAMPLE = 50_000  # boxes; anchors of COCO's 860,000 differ by less than a pixel from those of a sample this large

_Sizes = NDArray[np.float64]  # [N, 2] width, height


def box_sizes(records: Sequence[ImageRecord], image_size: int) -> Tensor:
    """Width and height of all boxes in pixels of a network input of this size, without augmentation. [N, 2] float32"""
    corners = [
        Letterbox(image_size, record.height, record.width).to_input(torch.from_numpy(record.boxes))
        for record in records
    ]
    boxes = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *corners])  # [N, 4]
    return (boxes[:, 2:] - boxes[:, :2]).float()


def kmeans_anchors(sizes: Tensor, count: int, *, seed: int = 0) -> list[tuple[float, float]]:
    """Cluster box sizes into anchors, the smallest area first.

    The best of a few seeded k-means++ starts, by mean IoU of a box with its nearest anchor.

    Args:
        sizes: [N, 2] width and height in pixels of the network input, as `DetectionData.train_boxes` gives them.
        count: number of anchors.
        seed: of the starts; the same seed and sizes give the same anchors.

    Returns:
        `count` pairs (width, height) in the unit of `sizes`.
    """
    boxes = sizes.detach().cpu().double().numpy()
    boxes = boxes[(boxes > 0).all(axis=1)]
    distinct = len(np.unique(boxes, axis=0))
    if count < 1 or distinct < count:
        raise InputError(
            f"anchors: expected at least {max(count, 1)} distinct box sizes for {count} anchors, got {distinct}; "
            "use more training images, or give model.anchors=[[width,height],...] in pixels of the network input"
        )
    rng = np.random.default_rng(seed)
    if len(boxes) > _SAMPLE:
        boxes = boxes[rng.choice(len(boxes), _SAMPLE, replace=False)]
    runs = [_kmeans(boxes, _spread_start(boxes, count, rng)) for _ in range(_RESTARTS)]
    best = max(runs, key=lambda centres: mean_overlap(boxes, centres))
    best = best[np.argsort(best.prod(axis=1), kind="stable")]
    return [(float(width), float(height)) for width, height in best]


def mean_overlap(boxes: _Sizes, anchors: _Sizes) -> float:
    """Mean over the boxes [N, 2] of the IoU with the nearest anchor [K, 2], both centred at one point."""
    return float(_overlap(boxes, anchors).max(axis=1).mean())


def _overlap(boxes: _Sizes, anchors: _Sizes) -> _Sizes:
    shared = np.minimum(boxes[:, None], anchors[None]).prod(axis=2)  # [N, K]
    return shared / (boxes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared)


def _spread_start(boxes: _Sizes, count: int, rng: np.random.Generator) -> _Sizes:
    """k-means++: each further centre is drawn with probability proportional to its squared distance to the others."""
    centres = boxes[rng.integers(len(boxes))][None]
    while len(centres) < count:
        distance = (1 - _overlap(boxes, centres).max(axis=1)).clip(min=0) ** 2
        # Rounding may leave a box already chosen a distance of 1e-33; the sum is positive: distinct boxes remain.
        chosen = rng.choice(len(boxes), p=distance / distance.sum())
        centres = np.concatenate([centres, boxes[chosen][None]])
    return centres


def _kmeans(boxes: _Sizes, centres: _Sizes) -> _Sizes:
    assigned = np.full(len(boxes), -1)
    for _ in range(_ITERATIONS):
        nearest = _overlap(boxes, centres).argmax(axis=1)
        if (nearest == assigned).all():
            break
        assigned = nearest
        # A cluster that lost all its boxes keeps its centre.
        centres = np.stack(
            [boxes[assigned == k].mean(axis=0) if (assigned == k).any() else centres[k] for k in range(len(centres))]
        )
    return centres
