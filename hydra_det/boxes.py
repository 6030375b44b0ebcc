"""Box geometry: the letterbox that places an image of any size in a square network input.

Plain overlaps (IoU, generalised IoU and so on) come from `torchvision.ops`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PADDING = 0.5  # value of the padding in all channels: mid-grey, the value with the smallest largest contrast


class Letterbox(NamedTuple):
    """An image scaled to fit a square input, centred, its aspect ratio kept; the rest is padding.

    A box goes to the input by `box * (scale_x, scale_y) + (left, top)`. The two scales differ only by the rounding of
    the scaled image to whole pixels.
    """

    size: int  # side of the square network input, pixels
    height: int  # of the original image, pixels
    width: int  # of the original image, pixels

    @property
    def content(self) -> tuple[int, int, int, int]:
        """Where the scaled image lies in the input: (left, top, width, height) in whole pixels."""
        scale = min(self.size / self.width, self.size / self.height)
        width = max(1, min(self.size, round(self.width * scale)))
        height = max(1, min(self.size, round(self.height * scale)))
        return (self.size - width) // 2, (self.size - height) // 2, width, height

    def to_input(self, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] xyxy in pixels of the original image -> the same in pixels of the network input."""
        left, top, width, height = self.content
        scale = boxes.new_tensor([width / self.width, height / self.height] * 2)
        return boxes * scale + boxes.new_tensor([left, top, left, top])

    def to_original(self, boxes: Tensor) -> Tensor:
        """The inverse of `to_input`, clipped to the original image. [N, 4]"""
        left, top, width, height = self.content
        scale = boxes.new_tensor([self.width / width, self.height / height] * 2)
        original = (boxes - boxes.new_tensor([left, top, left, top])) * scale
        limit = boxes.new_tensor([self.width, self.height] * 2)
        return torch.minimum(original.clamp(min=0), limit)

    def content_mask(self, *, device: torch.device | None = None) -> Tensor:
        """True where a pixel of the input shows the image, False where it is padding. [size, size] bool"""
        left, top, width, height = self.content
        mask = torch.zeros(self.size, self.size, dtype=torch.bool, device=device)
        mask[top : top + height, left : left + width] = True
        return mask
