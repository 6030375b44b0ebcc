"""COCO's AP as a MAITE metric, beside torchmetrics and numbers worked out by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from maite.protocols import DatumMetadata
from torchmetrics.detection import MeanAveragePrecision

from hydra_det.boxes import Letterbox
from hydra_det.maite import MaiteMetric
from hydra_det.types import InputError

NAMES = {1: "ant", 4: "bee"}  # with gaps, as COCO's own


@dataclass
class Foreign:
    """A target of somebody else."""

    boxes: Any
    labels: Any
    scores: Any


def one(box: list[float], label: int = 1, score: Any = 1.0) -> Foreign:
    return Foreign(np.array([box]), np.array([label]), np.array([score]))


def ap(found: list[Foreign], truth: list[Foreign], metadata: list[Any] | None = None) -> dict[str, Any]:
    metric = MaiteMetric(NAMES)
    metric.update(found, truth, metadata or [DatumMetadata(id=number) for number in range(len(truth))])
    return metric.compute()


BOX = [10.0, 10.0, 50.0, 50.0]


def test_equals_torchmetrics_on_targets_of_others() -> None:
    rng = np.random.default_rng(0)
    theirs, ours = MeanAveragePrecision(class_metrics=True), MaiteMetric(NAMES)
    for number in range(8):
        corners = rng.uniform(0, 200, (number % 4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 150, corners.shape)], axis=1)
        truth = Foreign(boxes, rng.choice(list(NAMES), len(boxes)), np.ones(len(boxes)))
        noisy = np.concatenate([boxes, boxes]) + rng.normal(0, 6, (2 * len(boxes), 4))
        found = Foreign(noisy, np.tile(truth.labels, 2), rng.uniform(0.01, 1, len(noisy)))
        # A tensor, and a text for the id, are as good as an array and a number.
        given = Foreign(torch.from_numpy(found.boxes), found.labels.tolist(), torch.from_numpy(found.scores))
        ours.update([given], [truth], [DatumMetadata(id=f"image {number}")])
        theirs.update(*([{key: torch.tensor(value) for key, value in vars(side).items()}] for side in (found, truth)))
    wanted, result = theirs.compute(), ours.compute()
    assert 0.1 < result["map"] < 0.9
    for key in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100"):
        value = float(wanted[key])
        assert result[key] == (None if value < 0 else pytest.approx(value, abs=1e-6)), key
    per_class = dict(zip(NAMES.values(), wanted["map_per_class"].tolist(), strict=True))
    assert result["map_per_class"] == pytest.approx(per_class, abs=1e-6)


def test_perfect_missed_and_wrong() -> None:
    assert ap([one(BOX)], [one(BOX)])["map"] == pytest.approx(1)
    empty = Foreign(np.empty(0), np.empty(0), np.empty(0))
    assert ap([empty], [one(BOX)])["map"] == 0
    assert ap([one(BOX, 4)], [one(BOX, 1)])["map"] == 0
    assert ap([one(BOX)], [empty])["map"] is None, "there are no objects"
    assert ap([one([10, 10, 50, 34])], [one(BOX)])["map_50"] == pytest.approx(1), "24 of 40 rows"
    assert ap([one([10, 10, 50, 34])], [one(BOX)])["map_75"] == 0


def test_a_score_for_every_class_counts_by_the_highest() -> None:
    far = [100.0, 100.0, 140.0, 140.0]
    found = Foreign([far, BOX], [1, 1], np.array([[0.3, 0.2], [0.1, 0.8]]))
    assert ap([found], [one(BOX)])["map"] == pytest.approx(1), "the right one is the more certain"
    found.scores = np.array([[0.9, 0.0], [0.1, 0.8]])
    assert ap([found], [one(BOX)])["map"] == pytest.approx(0.5)


def test_what_is_hardly_believed_does_not_count() -> None:
    assert ap([one(BOX, score=0.0011)], [one(BOX)])["map"] == pytest.approx(1)
    assert ap([one(BOX, score=0.0009)], [one(BOX)])["map"] == 0


def test_boxes_are_compared_in_pixels_of_the_original() -> None:
    # 640 x 40 in 64 x 64: 10 times as small, and 30 rows of padding above 4 rows of image.
    metadata = {"id": 1, "letterbox": Letterbox(64, 40, 640)}
    inside, reaching = one([10.0, 30.0, 20.0, 34.0]), one([10.0, 20.0, 20.0, 34.0])
    assert ap([reaching], [inside])["map_50"] == 0
    found = ap([reaching], [inside], [metadata])
    assert found["map"] == pytest.approx(1), "what lies in the padding is cut off"
    assert found["map_medium"] == pytest.approx(1), "100 x 40 pixels"
    plain = {"id": 1, "letterbox": [64, 40, 640]}  # as JSON keeps it
    assert ap([reaching], [inside], [plain]) == found


def test_a_reset_forgets() -> None:
    metric = MaiteMetric(NAMES)
    metric.update([one(BOX, 4)], [one(BOX, 1)], [DatumMetadata(id=1)])
    metric.reset()
    metric.update([one(BOX)], [one(BOX)], [DatumMetadata(id=1)])
    assert metric.compute()["map"] == metric.compute()["map"] == pytest.approx(1)


def test_two_updates_are_two_images_also_under_one_id() -> None:
    metric = MaiteMetric(NAMES)
    for found in (one(BOX), one([200, 200, 240, 240])):
        metric.update([found], [one(BOX)], [DatumMetadata(id="same")])
    assert metric.compute()["mar_100"] == pytest.approx(0.5)
    assert metric.compute()["detections_per_image"] == 1


@pytest.mark.parametrize("side", ["found", "truth"])
def test_a_label_without_a_name_is_refused(side: str) -> None:
    odd, fine = one(BOX, 2), one(BOX, 1)
    with pytest.raises(InputError, match="image 0: expected the labels that index2label names, got 2; is this"):
        ap(*([odd], [fine]) if side == "found" else ([fine], [odd]))


def test_batches_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ap([one(BOX)], [one(BOX), one(BOX)])
