"""Boxes where they were asked for, and texts that stay in the picture."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hydra_det.data.media.drawing import caption, class_colour, draw_boxes, draw_detections, side_by_side


def test_a_box_is_drawn_around_its_pixels() -> None:
    image = Image.new("RGB", (100, 80))
    draw_boxes(image, [[20, 30, 60, 50]], [4], [""])
    coloured = (np.array(image) == class_colour(4)).all(axis=2)
    rows, columns = coloured.nonzero()
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 30, 60, 50)
    assert not coloured[32:48, 22:58].any(), "the object itself stays visible"


@pytest.mark.parametrize("box", [[0, 0, 30, 20], [80, 60, 100, 80], [-5, -5, 104, 90], [98, 2, 99, 3]])
def test_texts_stay_in_the_picture(box: list[float]) -> None:
    bare, named = Image.new("RGB", (100, 80)), Image.new("RGB", (100, 80))
    draw_boxes(bare, [box], [0], [""])
    draw_boxes(named, [box], [0], ["person 0.87"])
    differs = (np.array(bare) != np.array(named)).any(axis=2)
    # The label is as large as in the middle of a large picture, however close the box is to an edge.
    assert np.abs(np.subtract(extent(differs), extent(label_in_the_middle()))).max() <= 1, "rounding"


def label_in_the_middle() -> NDArray[np.bool_]:
    bare, named = Image.new("RGB", (400, 80)), Image.new("RGB", (400, 80))
    draw_boxes(bare, [[200, 40, 201, 41]], [0], [""])
    draw_boxes(named, [[200, 40, 201, 41]], [0], ["person 0.87"])
    return (np.array(bare) != np.array(named)).any(axis=2)


def extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    rows, columns = mask.nonzero()
    return int(rows.max() - rows.min()), int(columns.max() - columns.min())


def test_the_most_certain_is_on_top() -> None:
    image = Image.new("RGB", (100, 80))
    draw_detections(image, [[20, 30, 60, 50], [20, 30, 60, 50]], [1, 2], [0.9, 0.2], class_names=["a", "b", "c"])
    assert image.getpixel((60, 40)) == class_colour(1)


def test_classes_have_colours_of_their_own() -> None:
    colours = np.array([class_colour(label) for label in range(12)], dtype=float)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 1e9 * np.eye(12)
    assert distances.min() > 60


def test_captions_and_pairs() -> None:
    red, blue = Image.new("RGB", (50, 40), "red"), Image.new("RGB", (60, 40), "blue")
    pair = np.array(side_by_side([red, blue]))
    assert (pair[:, :50] == (255, 0, 0)).all()
    assert (pair[:, -60:] == (0, 0, 255)).all()
    named = np.array(caption(red, "clean"))
    assert (named[-40:] == (255, 0, 0)).all()
    assert named.shape[0] > 50
    assert (named[:-40] < 100).all(axis=2).any(), "the text is dark on white"
