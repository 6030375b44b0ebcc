"""From an image of MAITE to a network input, and from an attack on that back to such an image."""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from maite.protocols import ArrayLike
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.attacks.base import LEVELS, to_eight_bit
from hydra_det.boxes import Letterbox
from hydra_det.data.transforms import letterbox_image
from hydra_det.maite.objects import as_array
from hydra_det.types import InputError


class Placed(NamedTuple):
    """An image, and where it lies in a network input."""

    image: Tensor  # [3, H, W] as it came, uint8 or float32 in [0, 1]
    pixels: Tensor  # [3, S, S] float32 in [0, 1], the network input
    letterbox: Letterbox

    def moved(self, pixels: Tensor, epsilon: float) -> NDArray[Any]:
        """The image after a change of its network input, of the size and the type that it came in. [3, H, W]

        An image that is its own network input becomes exactly the changed one. The change of another is cut out of the
        network input, scaled to the image and added; in 8 bits it is rounded to what lies within epsilon.

        Args:
            pixels: [3, S, S] in [0, 1], the changed network input.
            epsilon: how far no pixel channel should move, in units of images in [0, 1].
        """
        if self.pixels is self.image:
            return pixels.numpy()
        left, top, width, height = self.letterbox.content
        change = (pixels - self.pixels)[None, :, top : top + height, left : left + width]
        if change.shape[2:] != self.image.shape[1:]:
            change = F.interpolate(change, self.image.shape[1:], mode="bilinear", antialias=True)  # [1, 3, H, W]
        before = (self.image if self.image.is_floating_point() else self.image / LEVELS)[None]
        after = (before + change).clamp(0, 1)
        if self.image.is_floating_point():
            return after[0].numpy()
        return (to_eight_bit(after, before, epsilon, None)[0] * LEVELS).round().to(torch.uint8).numpy()


def place(image: ArrayLike, size: int, *, greyscale: bool) -> Placed:
    """Place an image in a network input. Floats of its very size are one already, others are letterboxed.

    Args:
        image: [3, H, W] RGB, of whole numbers in [0, 255] or of floats in [0, 1].
        size: S, side of the network input, pixels.
        greyscale: show the luminance of what is letterboxed only.

    Raises:
        InputError: another shape, or other values.
    """
    picture = _checked(as_array(image))
    if not picture.is_floating_point():
        return Placed(picture, *letterbox_image(picture, size, greyscale=greyscale))
    if picture.shape[1:] == (size, size):
        return Placed(picture, picture, Letterbox(size, size, size))
    return Placed(picture, *letterbox_image(picture * LEVELS, size, greyscale=greyscale))


def _checked(image: NDArray[Any]) -> Tensor:
    """[3, H, W] as uint8 or float32, a copy."""
    if image.ndim != 3 or image.shape[0] != 3 or not image.size:
        raise InputError(
            f"image: expected an array [3, height, width] of RGB, got {image.dtype} {list(image.shape)}; MAITE puts "
            "the channels first"
        )
    whole = np.issubdtype(image.dtype, np.integer)
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= (LEVELS if whole else 1)):  # also if one is NaN
        raise InputError(
            f"image: expected whole numbers in [0, 255] or floats in [0, 1], got {image.dtype} from {low:.4g} to "
            f"{high:.4g}; give uint8, or divide by 255"
        )
    return torch.from_numpy(np.array(image, dtype=np.uint8 if whole else np.float32, order="C"))
