"""Pixels and boxes move together: located bright rectangles, hand-made numbers, other libraries."""

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from hydra_det.data import transforms
from hydra_det.data.transforms import Augmentation, Window, augment_image, crop_boxes, letterbox_image


def bright_rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> Tensor:
    """A black uint8 image with a white box xyxy. [3, H, W]"""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, box[1] : box[3], box[0] : box[2]] = 255
    return image


def locate(image: Tensor) -> list[int]:
    """Where a float image is bright: xyxy."""
    rows, columns = torch.nonzero(image[0] > 0.75, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_letterbox_by_hand() -> None:
    # 100 x 50 into 64: scaled by 0.64 to 64 x 32, 16 rows of padding above and below.
    image, letterbox = letterbox_image(bright_rectangle(100, 50, (0, 0, 100, 50)), 64)
    assert image.shape == (3, 64, 64)
    assert (image[:, :16] == 0.5).all()
    assert (image[:, 48:] == 0.5).all()
    assert (image[:, 16:48] == 1).all()
    torch.testing.assert_close(
        letterbox.to_input(torch.tensor([[25.0, 0, 100, 25]])), torch.tensor([[16.0, 16, 64, 32]])
    )


@pytest.mark.parametrize(("width", "height"), [(100, 50), (37, 80), (64, 64), (31, 20), (200, 199)])
def test_letterbox_places_pixels_where_it_places_boxes(width: int, height: int) -> None:
    box = (width // 4, height // 4, width // 4 * 3, height // 4 * 3)
    image, letterbox = letterbox_image(bright_rectangle(width, height, box), 64)
    image[:, ~letterbox.content_mask()] = 0
    expected = letterbox.to_input(torch.tensor([box]).double())
    torch.testing.assert_close(torch.tensor([locate(image)]).double(), expected, atol=1.0, rtol=0)
    torch.testing.assert_close(letterbox.to_original(expected), torch.tensor([box]).double())


def test_an_image_of_the_input_size_is_not_touched() -> None:
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(letterbox_image(image, 64)[0], image / 255, atol=0, rtol=0)


def test_greyscale_is_rec_601() -> None:
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    grey, letterbox = letterbox_image(image, 64, greyscale=True)
    red, green, blue = image.double() / 255
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    for channel in grey:
        torch.testing.assert_close(channel[16:48].double(), expected, atol=1e-6, rtol=0)
    assert (grey[:, ~letterbox.content_mask()] == 0.5).all()


def test_flip_moves_the_box_with_the_pixels() -> None:
    box = (5, 8, 25, 20)
    image, letterbox, boxes, kept = augment_image(
        bright_rectangle(64, 40, box),
        np.array([box], dtype=float),
        64,
        augmentation=Augmentation(flip=1.0),
        rng=np.random.default_rng(0),
    )
    image[:, ~letterbox.content_mask()] = 0
    assert kept.all()
    assert locate(image) == [39, 20, 59, 32]
    assert letterbox.to_input(torch.from_numpy(boxes)).tolist() == [[39, 20, 59, 32]]


@pytest.mark.parametrize("seed", range(20))
def test_crops_move_the_box_with_the_pixels(seed: int) -> None:
    box = (60, 30, 140, 80)
    image, letterbox, boxes, _ = augment_image(
        bright_rectangle(200, 120, box),
        np.array([box], dtype=float),
        96,
        augmentation=Augmentation(flip=0.5, crop_jitter=0.5),
        rng=np.random.default_rng(seed),
    )
    image[:, ~letterbox.content_mask()] = 0
    assert letterbox.width < 200
    assert letterbox.height < 120
    placed = letterbox.to_input(torch.from_numpy(boxes))[0]
    torch.testing.assert_close(torch.tensor(locate(image)).double(), placed, atol=1.0, rtol=0)


def test_boxes_the_window_cuts() -> None:
    boxes = np.array([
        [10, 10, 30, 30],  # wholly inside
        [0, 10, 20, 30],  # half visible
        [0, 10, 11, 30],  # one of eleven columns visible
        [200, 10, 220, 30],  # outside
        [12, 12, 13, 13],  # tiny, but whole
        [8, 10, 11, 30],  # a third visible, but 1 pixel wide
    ], dtype=float)  # fmt: skip
    moved, kept = crop_boxes(boxes, Window(10, 10, 50, 50), min_side=2)
    assert kept.tolist() == [True, True, False, False, True, False]
    np.testing.assert_array_equal(moved[kept], [[0, 0, 20, 20], [0, 0, 10, 20], [2, 2, 3, 3]])


def test_colours_vary_but_padding_does_not() -> None:
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    augmentation = Augmentation(colour_jitter=0.5)
    for seed in range(5):
        varied, letterbox, _, _ = augment_image(
            image, np.zeros((0, 4)), 64, augmentation=augmentation, rng=np.random.default_rng(seed)
        )
        mask = letterbox.content_mask()
        assert (varied[:, ~mask] == 0.5).all()
        assert (varied[:, mask] - (image / 255).flatten(1)).abs().max() > 0.05
        assert 0 <= varied.min() <= varied.max() <= 1


def test_greyscale_comes_after_the_colours() -> None:
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    varied, *_ = augment_image(
        image,
        np.zeros((0, 4)),
        64,
        augmentation=Augmentation(colour_jitter=0.5),
        rng=np.random.default_rng(1),
        greyscale=True,
    )
    assert torch.equal(varied[0], varied[1])
    assert torch.equal(varied[0], varied[2])


def test_chroma_matrix_keeps_luminance_and_turns_hue() -> None:
    luminance = np.array([0.299, 0.587, 0.114])
    colours = np.random.default_rng(0).random((3, 50))
    changed = transforms.chroma_matrix(1.4, 0.3) @ colours
    np.testing.assert_allclose(luminance @ changed, luminance @ colours)
    grey = np.full((3, 1), 0.4)
    np.testing.assert_allclose(transforms.chroma_matrix(1.4, 0.3) @ grey, grey)
    np.testing.assert_allclose(transforms.chroma_matrix(0, 0) @ colours, np.tile(luminance @ colours, (3, 1)))
    # The largest turn of a jitter of 0.3 leaves red red: hue below 1/12 of the circle.
    red = np.array([0.8, 0.2, 0.2])
    hues = [colorsys.rgb_to_hsv(*(transforms.chroma_matrix(1, sign * 0.03 * 2 * np.pi) @ red))[0] for sign in (-1, 1)]
    assert all(0.01 < min(hue, 1 - hue) < 1 / 12 for hue in hues)


def test_augmentation_is_a_function_of_its_generator() -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    before = image.clone()
    augmentation = Augmentation(0.5, 0.4, 0.4)

    def run(seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        return augment_image(image, np.zeros((0, 4)), 64, augmentation=augmentation, rng=rng)[0]

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    assert torch.equal(image, before), "a cached image must not change"


def test_the_content_of_a_letterbox_is_the_scaled_image() -> None:
    image = torch.randint(0, 256, (3, 120, 90), dtype=torch.uint8)
    scaled = transforms.scale(image, width=24, height=32)
    assert scaled.shape == (3, 32, 24)
    # A reduction of 120 rows to 32 averages; the mean of noise stays, its variance falls.
    assert abs(scaled.mean() - (image / 255).mean()) < 0.01
    assert scaled.std() < 0.4 * (image / 255).std()
