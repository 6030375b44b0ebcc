"""k-means under 1 - IoU, against clusters that are known and against exhaustive search."""

from itertools import product

import numpy as np
import pytest
import torch

from hydra_det.modules.yolo.anchors import kmeans_anchors, mean_overlap
from hydra_det.types import InputError


def test_finds_separate_clusters_sorted_by_area() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[80.0, 60], [10, 12], [30, 90]])
    sizes = np.concatenate([centre * rng.uniform(0.95, 1.05, size=(40, 2)) for centre in centres])
    anchors = kmeans_anchors(torch.from_numpy(sizes), 3)
    np.testing.assert_allclose(anchors, [[10, 12], [30, 90], [80, 60]], rtol=0.03)


def test_close_to_the_best_partition() -> None:
    sizes = np.random.default_rng(1).uniform(5, 50, size=(9, 2))
    found = mean_overlap(sizes, np.array(kmeans_anchors(torch.from_numpy(sizes), 2)))
    best = 0.0
    for assignment in product((False, True), repeat=9):
        first = np.array(assignment)
        if 0 < first.sum() < 9:
            best = max(best, mean_overlap(sizes, np.stack([sizes[first].mean(axis=0), sizes[~first].mean(axis=0)])))
    assert found >= 0.97 * best


def test_overlap_by_hand() -> None:
    # 10 x 10 with 10 x 20: 100 / 200; 4 x 4 with 2 x 8: 8 / 24 and with 10 x 20: 16 / 200.
    boxes, anchors = np.array([[10.0, 10], [4, 4]]), np.array([[10.0, 20], [2, 8]])
    assert mean_overlap(boxes, anchors) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_deterministic_and_enough_boxes() -> None:
    sizes = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 100 + 1
    assert kmeans_anchors(sizes, 9, seed=3) == kmeans_anchors(sizes, 9, seed=3)
    assert len(set(kmeans_anchors(sizes[:9], 9))) == 9
    with pytest.raises(InputError, match="at least 9 distinct box sizes for 9 anchors, got 1"):
        kmeans_anchors(torch.ones(50, 2), 9)
    with pytest.raises(InputError, match="got 0"):
        kmeans_anchors(torch.zeros(0, 2), 9)
