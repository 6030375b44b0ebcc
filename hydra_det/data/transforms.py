"""From decoded pixels to a network input: crop, flip, scale, colour, greyscale, padding; the boxes follow.

Each step is a pure function. Images are [3, H, W] tensors: uint8 until they are scaled, then float32 in [0, 1].
Augmentation that moves pixels happens on the original image *before* the letterbox, so the letterbox of what is left
(`Letterbox(size, crop_height, crop_width)`) stays exact: its padding mask and its box geometry hold in training too.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hydra_det.boxes import PADDING, Letterbox

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
MIN_SIDE = 2.0  # pixels of the network input; a box cut by the crop to less than this is dropped
MIN_VISIBLE = 0.2  # of the area; a box of which the crop leaves less is dropped
# Luminance, and the two colour differences that are zero for greys (Rec. 601).
_YUV = np.array([LUMINANCE, 0.492 * (np.array([0, 0, 1]) - LUMINANCE), 0.877 * (np.array([1, 0, 0]) - LUMINANCE)])
_HUE_SHARE = 0.1  # hue turns by up to this share of the jitter: 0.3 -> 0.03 of a full circle, red stays red

Boxes = NDArray[np.float64]  # [N, 4] xyxy


class Augmentation(NamedTuple):
    """How strongly training images are varied; all zero: not at all."""

    flip: float = 0.0  # probability of a mirror image
    colour_jitter: float = 0.0  # brightness, contrast and saturation change by a factor in [1 - j, 1 + j]
    crop_jitter: float = 0.0  # a random window with sides in [1 - j, 1] of the image's is shown
    mosaic: float = 0.0  # probability of four images in one, see `mosaic.py`


class Window(NamedTuple):
    """A part of an image, whole pixels."""

    left: int
    top: int
    width: int
    height: int


def random_window(rng: np.random.Generator, *, width: int, height: int, jitter: float) -> Window:
    """Draw a window whose sides are independently [1 - jitter, 1] of the image's, anywhere in the image."""
    shown_width, shown_height = (max(1, round(side * rng.uniform(1 - jitter, 1))) for side in (width, height))
    left = int(rng.integers(width - shown_width + 1))
    top = int(rng.integers(height - shown_height + 1))
    return Window(left, top, shown_width, shown_height)


def crop_boxes(boxes: Boxes, window: Window, *, min_side: float) -> tuple[Boxes, NDArray[np.bool_]]:
    """Boxes in the pixels of a window, and which of them are still worth learning.

    Args:
        boxes: [N, 4] xyxy in pixels of the whole image.
        window: what is shown of it.
        min_side: pixels of the image; applies to boxes the window cuts, whole ones are kept however small.

    Returns:
        [N, 4] clipped boxes in pixels of the window, [N] bool.
    """
    moved = boxes - np.tile([window.left, window.top], 2)
    clipped = moved.clip(0, np.tile([window.width, window.height], 2))
    sides = clipped[:, 2:] - clipped[:, :2]  # [N, 2]
    visible = sides.prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    whole = (clipped == moved).all(axis=1)
    return clipped, whole | ((visible >= MIN_VISIBLE) & (sides >= min_side).all(axis=1))


def flip_boxes(boxes: Boxes, *, width: int) -> Boxes:
    """Boxes [N, 4] xyxy of the mirror image of an image `width` pixels wide."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def crop(image: Tensor, boxes: Boxes, window: Window, *, min_side: float) -> tuple[Tensor, Boxes, NDArray[np.bool_]]:
    """What a window shows of an image [3, H, W], and of its boxes as `crop_boxes` says."""
    shown = image[:, window.top : window.top + window.height, window.left : window.left + window.width]
    return shown, *crop_boxes(boxes, window, min_side=min_side)


def scale(image: Tensor, *, width: int, height: int) -> Tensor:
    """Scale an image to a size in pixels. [3, H, W] uint8 -> [3, height, width] float32 in [0, 1]"""
    if image.shape[1:] != (height, width):
        # In uint8: rounds to 8 bits as an image file would, and is about ten times faster than in float.
        image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    return image.float() / 255


def vary_colours(image: Tensor, rng: np.random.Generator, *, augmentation: Augmentation, greyscale: bool) -> Tensor:
    """Jitter the colours of a float image [3, H, W], then take its luminance, each if asked."""
    if augmentation.colour_jitter > 0:
        image = jitter_colours(image, rng, jitter=augmentation.colour_jitter)
    return to_greyscale(image) if greyscale else image


def jitter_colours(image: Tensor, rng: np.random.Generator, *, jitter: float) -> Tensor:
    """Vary brightness, contrast, saturation and hue of a float image [3, H, W]."""
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, size=3)
    turn = 2 * np.pi * rng.uniform(-1, 1) * _HUE_SHARE * jitter
    mix = brightness * contrast * chroma_matrix(saturation, turn)
    mean = float((image.mean(dim=(1, 2)) * image.new_tensor(LUMINANCE)).sum())
    offset = brightness * (1 - contrast) * mean  # contrast stretches about the mean luminance
    mixed = torch.from_numpy(mix).to(image) @ image.flatten(1) + offset  # [3, H * W]
    return mixed.clamp_(0, 1).view_as(image)


def chroma_matrix(saturation: float, turn: float) -> NDArray[np.float64]:
    """The map of RGB that scales chroma and turns it by `turn` radians; luminance and greys stay. [3, 3]"""
    scaled_turn = np.eye(3)
    scaled_turn[1:, 1:] = saturation * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix: NDArray[np.float64] = np.linalg.inv(_YUV) @ scaled_turn @ _YUV
    return matrix


def to_greyscale(image: Tensor) -> Tensor:
    """Luminance (Rec. 601) of an RGB float image, in all three channels. [3, H, W]"""
    return (image * image.new_tensor(LUMINANCE)[:, None, None]).sum(dim=0).expand(3, -1, -1)


def pad(content: Tensor, letterbox: Letterbox) -> Tensor:
    """Place the scaled image in its letterbox. [3, h, w] float -> [3, S, S]"""
    left, top, width, height = letterbox.content
    canvas = content.new_full((3, letterbox.size, letterbox.size), PADDING)
    canvas[:, top : top + height, left : left + width] = content
    return canvas


def letterbox_image(image: Tensor, size: int, *, greyscale: bool = False) -> tuple[Tensor, Letterbox]:
    """The network input of an image nobody augmented: what validation, test and detection see.

    Args:
        image: [3, H, W] uint8 RGB.
        size: side of the network input, pixels.
        greyscale: show the luminance only.

    Returns:
        [3, S, S] float32 in [0, 1], and where the image lies in it.
    """
    letterbox = Letterbox(size, image.shape[1], image.shape[2])
    content = scale(image, width=letterbox.content[2], height=letterbox.content[3])
    return pad(to_greyscale(content) if greyscale else content, letterbox), letterbox


def augment_image(
    image: Tensor,
    boxes: Boxes,
    size: int,
    *,
    augmentation: Augmentation,
    rng: np.random.Generator,
    greyscale: bool = False,
) -> tuple[Tensor, Letterbox, Boxes, NDArray[np.bool_]]:
    """A random variation of an image as a network input.

    Args:
        image: [3, H, W] uint8 RGB.
        boxes: [N, 4] xyxy in pixels of `image`.
        size: side of the network input, pixels.
        augmentation: how strongly to vary.
        rng: all that is random comes from here.
        greyscale: show the luminance only, taken after the colours were varied.

    Returns:
        [3, S, S] float32 in [0, 1]; the letterbox of the window shown; the boxes [N, 4] in pixels of that window; and
        which boxes are still to be learnt [N] bool.
    """
    height, width = image.shape[1:]
    window = Window(0, 0, width, height)
    if augmentation.crop_jitter > 0:
        window = random_window(rng, width=width, height=height, jitter=augmentation.crop_jitter)
    letterbox = Letterbox(size, window.height, window.width)
    image, boxes, kept = crop(image, boxes, window, min_side=MIN_SIDE * window.width / letterbox.content[2])
    if rng.random() < augmentation.flip:
        image, boxes = image.flip(2), flip_boxes(boxes, width=window.width)
    content = scale(image, width=letterbox.content[2], height=letterbox.content[3])
    content = vary_colours(content, rng, augmentation=augmentation, greyscale=greyscale)
    return pad(content, letterbox), letterbox, boxes, kept


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Decoded pixels [H, W, 3] as a tensor [3, H, W] over the same memory; nothing here writes to it."""
    return torch.from_numpy(pixels).permute(2, 0, 1)
