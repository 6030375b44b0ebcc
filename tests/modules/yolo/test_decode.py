"""Decoding and suppression against loops over single cells and single boxes."""

import math
from typing import Any

import pytest
import torch

from hydra_det.modules.yolo.decode import decode, suppress
from hydra_det.types import Candidates, NotFiniteError
from tests.modules.example import NETWORKS, network

ANCHORS = [torch.tensor([[20.0, 30.0], [40.0, 25.0]]), torch.tensor([[6.0, 8.0], [11.0, 5.0]])]
STRIDES = [32, 16]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def slow_decode(raw, anchors, strides, scales):
    """Per image a list of (box, confidence per class), cell by cell."""
    answer = []
    for image in range(raw[0].shape[0]):
        found = []
        for level, shapes, stride, scale in zip(raw, anchors, strides, scales, strict=True):
            for anchor, maps in enumerate(level[image].tolist()):
                for row, cells in enumerate(maps):
                    for column, (tx, ty, tw, th, objectness, *classes) in enumerate(cells):
                        # scale_x_y = 1.2: from -0.1 to 1.1 of a cell
                        inner = [sigmoid(t) * scale - 0.5 * (scale - 1) for t in (tx, ty)]
                        x, y = (column + inner[0]) * stride, (row + inner[1]) * stride
                        width = shapes[anchor][0].item() * math.exp(tw)
                        height = shapes[anchor][1].item() * math.exp(th)
                        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                        found.append((box, [sigmoid(objectness) * sigmoid(c) for c in classes]))
        answer.append(found)
    return answer


def slow_suppress(boxes, confidences, *, image_size, confidence, iou, max_detections):
    """Greedy and class-wise, for one image: (confidence, label, box), the most certain first."""
    height, width = image_size
    pairs = [
        (value, label, [min(max(v, 0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)])
        for box, values in zip(boxes, confidences, strict=True)
        for label, value in enumerate(values)
        if value >= confidence
    ]
    kept: list[Any] = []
    for pair in sorted(pairs, key=lambda p: -p[0]):
        if all(other[1] != pair[1] or overlap(other[2], pair[2]) <= iou for other in kept):
            kept.append(pair)
    return kept[:max_detections]


def overlap(a, b):
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return across * down / (area_a + area_b - across * down)


def random_candidates(seed, *, boxes=120, classes=3):
    """Crowded boxes, some of them over the edge of an input of 96 x 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(2, boxes, 2, generator=generator) * torch.tensor([96.0, 64.0])
    half = torch.rand(2, boxes, 2, generator=generator) * 20 + 4
    confidences = torch.rand(2, boxes, classes, generator=generator)
    return Candidates(torch.cat([centre - half, centre + half], dim=2), confidences)


@pytest.mark.parametrize("scales", [[1.0, 1.0], [1.2, 1.05]])
def test_decode(scales):
    generator = torch.Generator().manual_seed(0)
    raw = [torch.randn(2, 2, 64 // s, 96 // s, 8, generator=generator) for s in STRIDES]
    boxes, confidences = decode(raw, ANCHORS, STRIDES, scales)
    for image, expected in enumerate(slow_decode(raw, ANCHORS, STRIDES, scales)):
        torch.testing.assert_close(boxes[image], torch.tensor([box for box, _ in expected]), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(confidences[image], torch.tensor([values for _, values in expected]))


def test_an_overflowing_width_stays_finite():
    raw = [torch.full((1, 2, 1, 1, 6), 1000.0) for _ in STRIDES]
    boxes, confidences = decode(raw, ANCHORS, STRIDES, [1.0, 1.0])
    assert boxes.isfinite().all()
    assert torch.equal(confidences, torch.ones_like(confidences))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("confidence", "iou", "most"), [(0.001, 0.6, 1000), (0.3, 0.4, 1000), (0.5, 0.2, 7)])
def test_suppress(seed, confidence, iou, most):
    candidates = random_candidates(seed)
    settings = {"image_size": (64, 96), "confidence": confidence, "iou": iou, "max_detections": most}
    answer = suppress(candidates, **settings)
    assert len(answer) == 2
    for image, found in enumerate(answer):
        boxes, confidences = candidates.boxes[image].tolist(), candidates.confidences[image].tolist()
        expected = slow_suppress(boxes, confidences, **settings)
        assert 0 < len(expected) < len(boxes) * 3
        assert found.labels.tolist() == [label for _, label, _ in expected]
        assert found.confidences.tolist() == [value for value, _, _ in expected]
        torch.testing.assert_close(found.boxes, torch.tensor([box for _, _, box in expected]))


def single(boxes, confidences, **settings):
    candidates = Candidates(torch.tensor([boxes], dtype=torch.float32), torch.tensor([confidences]))
    (found,) = suppress(candidates, **{"image_size": (64, 96), **settings})
    return found


def test_classes_do_not_suppress_each_other():
    found = single([[10, 10, 30, 30], [11, 10, 31, 30]], [[0.9, 0.5], [0.8, 0.7]])
    assert list(zip(found.labels.tolist(), found.confidences.tolist(), strict=True)) == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.7)),
    ]


def test_clipped_to_height_and_width():
    assert single([[-5, -7, 200, 300]], [[0.5]]).boxes.tolist() == [[0, 0, 96, 64]]


def test_the_floor_itself_counts():
    confidences = [[0.5], [0.25], [0.2499]]
    found = single([[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]], confidences, confidence=0.25)
    assert found.confidences.tolist() == [0.5, 0.25]


def test_the_most_certain_are_kept():
    boxes = [[10 * k, 0, 10 * k + 8, 8] for k in range(6)]
    confidences = [[0.1], [0.6], [0.3], [0.5], [0.2], [0.4]]
    for limit in ("max_detections", "max_candidates"):
        found = single(boxes, confidences, **{limit: 3})
        assert found.boxes[:, 0].tolist() == [10, 30, 50], limit


def test_nothing_certain_finds_nothing():
    found = single([[0, 0, 9, 9]], [[0.1, 0.2]], confidence=0.5)
    assert [tuple(field.shape) for field in found] == [(0, 4), (0,), (0,)]
    assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_clips_to_its_input(name):
    net = network(name).eval()
    with torch.no_grad():
        raw = [level.clone() for level in net(torch.rand(1, 3, 64, 96))]
    raw[0][..., 2:4] = 3  # boxes far larger than the input
    raw[0][..., 4] = 5
    (found,) = net.detections(raw)
    assert found.boxes[:, 2:].amax(0).tolist() == [96, 64]
    assert found.boxes.min() == 0
    assert (found.confidences.diff() <= 0).all()


@pytest.mark.parametrize(("part", "value"), [("boxes", math.nan), ("confidences", math.nan), ("boxes", math.inf)])
def test_what_is_not_a_number_is_refused_and_not_dropped(part, value):
    candidates = Candidates(torch.rand(3, 5, 4).sort(dim=2).values * 64, torch.rand(3, 5, 2))
    getattr(candidates, part)[1, 2, 0] = value
    with pytest.raises(NotFiniteError, match="for 1 of the 3 images") as raised:
        suppress(candidates, image_size=(64, 64))
    assert raised.value.positions == (1,)
