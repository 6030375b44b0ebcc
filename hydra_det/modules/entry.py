"""How images enter a network that wants them otherwise than in [0, 1]."""

import torch
from torch import Tensor, nn

from hydra_det.types import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]
MULTIPLE = 32  # pixels: the sides of the images are multiples of it


class Entry(nn.Module):
    """Takes images in [0, 1] to what a backbone was trained on; no part of the state dict.

    Args:
        mean: of the three channels.
        std: of the three channels.
        least: side in pixels of the smallest image that still has a place on the coarsest level.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = MEAN,
        std: tuple[float, float, float] = STD,
        *,
        least: int = MULTIPLE,
    ) -> None:
        super().__init__()
        self.least = least
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> the same shape"""
        height, width = images.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE or min(height, width) < self.least:
            raise InputError(
                f"images: expected sides that are multiples of {MULTIPLE}, from {self.least} pixels on, got "
                f"{height}x{width}; give another data.image_size"
            )
        return (images - self.mean) / self.std
