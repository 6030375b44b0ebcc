"""Anchors: those that weights were trained with, or those that fit the training boxes.

The latter by k-means under the distance 1 - IoU (Redmon & Farhadi 2017, YOLO9000).
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.modules.weights import other_anchors, same_anchors, trained_with
from hydra_det.types import InputError

log = logging.getLogger(__name__)

_RESTARTS = 5
_ITERATIONS = 300
_SAMPLE = 50_000  # boxes; anchors of COCO's 860,000 differ by less than a pixel from those of a sample this large

_Sizes = NDArray[np.float64]  # [N, 2] width, height


def settle(
    settings: Mapping[str, Any], *, count: int | None, train_boxes: Callable[[], Tensor] | None
) -> dict[str, Any]:
    """The settings of a network with the anchors that `anchors="auto"` means.

    These are the ones that its weights were trained with, where they say it and have as many classes, else anchors made
    from the boxes of the data.

    Args:
        settings: of the network, with `num_classes` and, where a file is loaded, `weights`.
        count: of its anchors; None: it has its own.
        train_boxes: width and height of the training boxes in pixels of the input [N, 2]; None: there are none.

    Raises:
        InputError: neither auto nor anchors, or nothing to take them from.
    """
    anchors = settings.get("anchors")
    if isinstance(anchors, str) and anchors != "auto":
        raise InputError(f"model.anchors: expected auto or [[width,height],...] in pixels of the input, got {anchors}")
    if anchors != "auto":
        return dict(settings)
    if trained := said_anchors(settings):
        log.info("model.anchors: those that %s was trained with: %s", settings["weights"], trained)
        return {**settings, "anchors": trained}
    if count is None:
        raise InputError("model.anchors: expected none, since the network has its own, got auto")
    if train_boxes is None:
        raise InputError(
            "model.anchors: expected those that the weights were trained with, or data to make them from, got auto and "
            "a file that does not say them; give anchors=[[width,height],...] in pixels of the input, or data"
        )
    found = kmeans_anchors(train_boxes(), count, seed=0)
    return {**settings, "anchors": [[round(width, 1), round(height, 1)] for width, height in found]}


def said_anchors(settings: Mapping[str, Any]) -> list[list[float]] | None:
    """The anchors that the weights of a network say they were trained with; None where they say none, or other classes.

    Args:
        settings: of the network, with `num_classes`.
    """
    weights = settings.get("weights")
    trained = trained_with(Path(weights)) if weights and Path(weights).suffix == ".safetensors" else None
    return trained.anchors if trained and trained.num_classes == settings.get("num_classes") else None


def check_earlier(settings: Mapping[str, Any], path: Path, read: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse weights of an earlier run that learned with other anchors: they look for objects of other sizes.

    Weights that say their anchors themselves are checked as they are loaded.

    Args:
        settings: of the network, with `num_classes` and `weights`.
        path: the file with the settings of the network that the weights come from.
        read: what it says; raises InputError where it cannot be read.
    """
    if Path(settings["weights"]).is_file() and said_anchors(settings) is not None:
        return
    try:
        earlier = read()
    except InputError:
        log.warning("model.weights: the anchors that they were trained with are unknown, as %s cannot be read", path)
        return
    anchors = earlier.get("anchors")
    # Of other classes the heads are made anew, and they learn with any anchors.
    same_classes = earlier.get("num_classes") == settings.get("num_classes")
    if anchors and same_classes and not same_anchors(anchors, settings.get("anchors") or []):
        raise other_anchors(f"model.weights={settings['weights']}", anchors)


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
