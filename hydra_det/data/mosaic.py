"""Mosaic: parts of four images side by side as one training image (Bochkovskiy et al. 2020, arXiv 2004.10934).

A batch then shows more objects, in more sizes and against more backgrounds. The four tiles fill the network input
without padding, so its letterbox is that of a square image of just this size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.boxes import Letterbox
from hydra_det.data.transforms import MIN_SIDE, Augmentation, Boxes, Window, crop, flip_boxes, scale, vary_colours

TILES = 4
CENTRE = (0.35, 0.65)  # where the tiles meet, as shares of the input
SHOWN = (0.5, 1.0)  # sides of the part shown, as shares of the largest part that has the shape of the tile

Labels = NDArray[np.int64]  # [N]


class Labelled(NamedTuple):
    """An image and the objects in it."""

    image: Tensor  # [3, H, W] uint8 RGB
    boxes: Boxes  # [N, 4] xyxy in pixels of the image
    labels: Labels


def mosaic(
    parts: Sequence[Labelled],
    size: int,
    *,
    augmentation: Augmentation,
    rng: np.random.Generator,
    greyscale: bool = False,
) -> tuple[Tensor, Letterbox, Boxes, Labels]:
    """Four images as one network input.

    Args:
        parts: the four; top left, top right, bottom left, bottom right.
        size: side of the network input, pixels.
        augmentation: how each tile is flipped and coloured.
        rng: all that is random comes from here.
        greyscale: show the luminance only.

    Returns:
        [3, S, S] float32 in [0, 1]; its letterbox; boxes [N, 4] in pixels of the input; labels [N].
    """
    assert len(parts) == TILES
    x, y = (round(size * rng.uniform(*CENTRE)) for _ in range(2))
    tiles = (Window(0, 0, x, y), Window(x, 0, size - x, y), Window(0, y, x, size - y), Window(x, y, size - x, size - y))
    canvas = torch.empty(3, size, size)
    boxes, labels = [], []
    for part, tile in zip(parts, tiles, strict=True):
        content, placed, kept = _fill(part, tile, augmentation=augmentation, rng=rng, greyscale=greyscale)
        canvas[:, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = content
        boxes.append(placed[kept])
        labels.append(part.labels[kept])
    return canvas, Letterbox(size, size, size), np.concatenate(boxes), np.concatenate(labels)


def part_of_shape(rng: np.random.Generator, *, width: int, height: int, shape: tuple[int, int]) -> Window:
    """Draw a part of an image `width` x `height` with the aspect ratio of a tile (width, height), anywhere in it."""
    fit = min(width / shape[0], height / shape[1]) * rng.uniform(*SHOWN)
    shown_width, shown_height = (
        max(1, min(whole, round(side * fit))) for side, whole in zip(shape, (width, height), strict=True)
    )
    left = int(rng.integers(width - shown_width + 1))
    top = int(rng.integers(height - shown_height + 1))
    return Window(left, top, shown_width, shown_height)


def _fill(
    part: Labelled, tile: Window, *, augmentation: Augmentation, rng: np.random.Generator, greyscale: bool
) -> tuple[Tensor, Boxes, NDArray[np.bool_]]:
    """The content of a tile [3, h, w]; all boxes of its image, in pixels of the input; which are to be learnt [N]."""
    height, width = part.image.shape[1:]
    window = part_of_shape(rng, width=width, height=height, shape=(tile.width, tile.height))
    image, boxes, kept = crop(part.image, part.boxes, window, min_side=MIN_SIDE * window.width / tile.width)
    if rng.random() < augmentation.flip:
        image, boxes = image.flip(2), flip_boxes(boxes, width=window.width)
    content = scale(image, width=tile.width, height=tile.height)
    content = vary_colours(content, rng, augmentation=augmentation, greyscale=greyscale)
    stretch = np.tile([tile.width / window.width, tile.height / window.height], 2)
    return content, boxes * stretch + np.tile([tile.left, tile.top], 2), kept
