"""The picture of the README: which boxes are right, wrong and missed, and which photo is the typical one, by hand."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from hydra_det.types import Detections
from publish.draw_attack import KINDS, Seen, by_kind, draw, typical

# Two objects of class 0 side by side and one of class 1 on the right.
OBJECTS = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [40.0, 0.0, 50.0, 10.0]])
LABELS = torch.tensor([0, 0, 1])


def found(*boxes):
    """Detections from (x, label), squares of side 10, the most certain first."""
    places = torch.tensor([[x, 0.0, x + 10.0, 10.0] for x, _ in boxes]).reshape(-1, 4)
    return Detections(places, torch.linspace(0.9, 0.5, len(boxes)), torch.tensor([label for _, label in boxes]))


@pytest.mark.parametrize(
    ("boxes", "right", "wrong", "missed"),
    [
        ([(0, 0), (20, 0), (40, 1)], [0, 20, 40], [], []),
        ([], [], [], [0, 20, 40]),
        ([(40, 0), (0, 1)], [], [40, 0], [0, 20, 40]),  # of the wrong class
        ([(1, 0), (0, 0)], [1], [0], [20, 40]),  # an object is found once, by the most certain box
        ([(3, 0)], [3], [], [20, 40]),  # 70 of 130
        ([(4, 0)], [], [4], [0, 20, 40]),  # 60 of 140
    ],
)
def test_boxes_are_right_wrong_or_missed(boxes, right, wrong, missed):
    parts = by_kind(found(*boxes), OBJECTS, LABELS)
    assert [part[:, 0].tolist() for part in parts] == [right, wrong, missed]


def test_a_photo_without_objects():
    right, wrong, missed = by_kind(found((0, 0)), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert (len(right), len(wrong), len(missed)) == (0, 1, 0)


def seen(right, wrong, missed):
    return Seen(np.zeros((10, 50, 3), np.uint8), *(torch.zeros(count, 4) for count in (right, wrong, missed)))


def test_the_score_of_a_panel_is_f1():
    assert seen(2, 1, 1).score == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert seen(0, 3, 2).score == 0
    assert seen(0, 0, 0).score == 1, "nothing there, nothing found"


def test_the_typical_photo_is_nearest_to_the_mean_of_all_panels():
    # means 0.5, 0.3 and 0.4; distances of the third from them: 0.1, 0 and 0.1
    assert typical([[1.0, 0.9, 0.8], [0.1, 0.0, 0.1], [0.4, 0.3, 0.5], [0.5, 0.0, 0.2]]) == 2


def test_every_box_is_drawn_and_counted():
    panels = [seen(2, 1, 3), seen(0, 4, 5)]
    axes = draw(panels, titles=["clean", "attacked"]).axes
    assert [panel.get_title() for panel in axes] == [
        "clean\n2 of 5 objects found, 1 wrong box",
        "attacked\n0 of 5 objects found, 4 wrong boxes",
    ]
    for panel, counts in zip(axes, [{"right": 2, "wrong": 1, "missed": 3}, {"wrong": 4, "missed": 5}], strict=True):
        drawn = [patch.get_linestyle() for patch in panel.patches if isinstance(patch, Rectangle)]
        assert len(drawn) == sum(counts.values())
        assert drawn.count(KINDS["missed"][1]) == counts["missed"]
