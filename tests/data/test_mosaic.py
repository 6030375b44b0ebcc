"""Four images in one: the boxes against the pixels that they are said to frame."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hydra_det.data.mosaic import CENTRE, Labelled, mosaic, part_of_shape
from hydra_det.data.transforms import Augmentation
from tests.data.conftest import Files

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def one_object(label: int, *, width: int, height: int, box: tuple[int, int, int, int]) -> Labelled:
    """A black image with one rectangle in the colour of its label."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    left, top, right, bottom = box
    image[:, top:bottom, left:right] = torch.tensor(COLOURS[label], dtype=torch.uint8)[:, None, None]
    return Labelled(image, np.array([box], dtype=np.float64), np.array([label]))


PARTS = [
    one_object(0, width=200, height=100, box=(60, 30, 140, 70)),
    one_object(1, width=90, height=180, box=(20, 50, 70, 120)),
    one_object(2, width=120, height=120, box=(40, 40, 80, 80)),
    one_object(3, width=300, height=220, box=(90, 60, 210, 160)),
]


def painted(canvas: torch.Tensor, label: int) -> NDArray[np.float64] | None:
    """The box around all pixels that are closer to a colour than to black and the other colours."""
    distance = torch.stack(
        [((canvas - torch.tensor(colour)[:, None, None] / 255) ** 2).sum(0) for colour in (*COLOURS, (0, 0, 0))]
    )
    rows, columns = (distance.argmin(0) == label).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)  # xyxy


@pytest.mark.parametrize("seed", range(12))
def test_boxes_frame_their_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas, letterbox, boxes, labels = mosaic(PARTS, 256, augmentation=Augmentation(flip=0.5), rng=rng)
    assert canvas.shape == (3, 256, 256)
    assert letterbox.content == (0, 0, 256, 256)
    assert letterbox.content_mask().all(), "there is no padding"
    for box, label in zip(boxes, labels, strict=True):
        found = painted(canvas, label)
        assert found is not None
        assert np.abs(found - box).max() <= 1.5, "half a pixel of smoothing at either end, and rounding"


def test_labels_go_with_the_boxes_that_stay() -> None:
    first = one_object(0, width=200, height=200, box=(5, 5, 45, 45))
    second = one_object(1, width=200, height=200, box=(155, 155, 195, 195))
    both = Labelled(
        first.image + second.image,
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.labels, second.labels]),
    )
    nothing = Labelled(torch.zeros(3, 50, 50, dtype=torch.uint8), np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    alone = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        canvas, _, boxes, labels = mosaic([nothing, both, nothing, nothing], 256, augmentation=Augmentation(), rng=rng)
        for box, label in zip(boxes, labels, strict=True):
            found = painted(canvas, label)
            assert found is not None
            assert np.abs(found - box).max() <= 1.5
        if len(labels) == 1:
            alone.add(int(labels[0]))
    assert alone == {0, 1}, "either is sometimes cut away"


@pytest.mark.parametrize("seed", range(12))
def test_only_objects_that_a_tile_cuts_are_left_out(seed: int) -> None:
    """The backgrounds are told apart by their grey: each shows where its tile lies."""
    greys = [(40 + 40 * number) / 255 for number in range(4)]
    parts = []
    for part, grey in zip(PARTS, greys, strict=True):
        background = (part.image == 0).all(dim=0)
        parts.append(part._replace(image=torch.where(background, round(grey * 255), part.image).to(torch.uint8)))
    canvas, _, _, labels = mosaic(parts, 256, augmentation=Augmentation(), rng=np.random.default_rng(seed))
    for label in set(range(4)) - set(labels.tolist()):
        near = (canvas - torch.tensor(COLOURS[label])[:, None, None] / 255).abs().amax(0) < 0.1
        if not near.any():
            continue  # outside the part that is shown
        rows, columns = near.nonzero(as_tuple=True)
        tile = near | ((canvas - greys[label]).abs().amax(0) < 0.02)
        tile_rows, tile_columns = tile.nonzero(as_tuple=True)
        gaps = (
            rows.min() - tile_rows.min(),
            tile_rows.max() - rows.max(),
            columns.min() - tile_columns.min(),
            tile_columns.max() - columns.max(),
        )
        assert min(gaps) <= 1, "a whole object must not be left out"


def test_tiles_are_coloured_each_on_its_own_and_grey_is_grey() -> None:
    grey = Labelled(torch.full((3, 50, 50), 100, dtype=torch.uint8), np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    jitter = Augmentation(colour_jitter=0.4)
    canvas, *_ = mosaic([grey] * 4, 100, augmentation=jitter, rng=np.random.default_rng(0))
    assert len({round(float(canvas[0, y, x]), 4) for y, x in ((0, 0), (0, 99), (99, 0), (99, 99))}) == 4
    plain, *_ = mosaic(PARTS, 100, augmentation=jitter, rng=np.random.default_rng(0))
    shown, *_ = mosaic(PARTS, 100, augmentation=jitter, rng=np.random.default_rng(0), greyscale=True)
    assert not torch.equal(plain[0], plain[1])
    assert torch.equal(shown[0], shown[1])
    torch.testing.assert_close(shown[0], 0.299 * plain[0] + 0.587 * plain[1] + 0.114 * plain[2])


def test_objects_of_all_four_are_seen() -> None:
    rng = np.random.default_rng(0)
    counts = [len(mosaic(PARTS, 128, augmentation=Augmentation(), rng=rng)[3]) for _ in range(20)]
    assert max(counts) == 4


def test_the_part_has_the_shape_of_its_tile_and_lies_in_the_image() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        window = part_of_shape(rng, width=300, height=200, shape=(90, 120))
        assert window.left >= 0 <= window.top
        assert window.left + window.width <= 300
        assert window.top + window.height <= 200
        assert abs(window.width / window.height - 90 / 120) < 0.02
        shares.append(window.height / 200)
    assert min(shares) < 0.55
    assert max(shares) > 0.95


def test_a_sample_is_a_mosaic_as_often_as_asked(files: Files) -> None:
    data = files.data(mosaic=0.5, image_size=64)
    dataset = data.dataset("train", augment=True)
    # The images are 48 x 32: alone they leave padding, four together fill the square.
    full = [dataset[(epoch, i)][1]["letterbox"].content == (0, 0, 64, 64) for epoch in range(20) for i in range(10)]
    assert 0.35 < np.mean(full) < 0.65
    boxes = [dataset[(epoch, i)][1]["boxes"] for epoch in range(5) for i in range(10)]
    assert max(len(found) for found in boxes) > 1
    assert all((found >= 0).all() and (found <= 64).all() for found in boxes)
    again = dataset[(3, 4)]
    assert torch.equal(dataset[(3, 4)][0], again[0])


def test_evaluation_shows_single_images(files: Files) -> None:
    data = files.data(mosaic=1.0)
    assert all(
        target["letterbox"].content != (0, 0, 64, 64) for _, target in (data.dataset("test")[i] for i in range(3))
    )


def test_tiles_meet_near_the_middle() -> None:
    # White images against black ones show where the tiles end.
    white = Labelled(torch.full((3, 50, 50), 255, dtype=torch.uint8), np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    black = white._replace(image=torch.zeros(3, 50, 50, dtype=torch.uint8))
    places = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        canvas, *_ = mosaic([white, black, black, white], 100, augmentation=Augmentation(), rng=rng)
        x, y = int(canvas[0, 0].sum()), int(canvas[0, :, 0].sum())
        assert canvas[:, y:, x:].min() == 1
        assert canvas[:, :y, x:].max() == canvas[:, y:, :x].max() == 0
        places += [x / 100, y / 100]
    assert CENTRE[0] - 0.01 <= min(places) < 0.4
    assert 0.6 < max(places) <= CENTRE[1] + 0.01
