"""References: the image without information that an image is compared with."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from hydra_det.boxes import PADDING
from hydra_det.init.base import total_over_processes
from hydra_det.types import Batch

# Images [B, 3, H, W], and what they were before an attack -> one reference for all of them [1, 3, H, W], or one for
# each [B, 3, H, W].
Reference = Callable[[Tensor, Tensor], Tensor]
# Clean batches of the images that will be compared, those of this process; the device -> their reference.
MakeReference = Callable[[Iterable[Batch], torch.device], Reference]

BLUR_SHARE = 1 / 16  # standard deviation of the blur, as a share of the shorter side


def zeros(_batches: Iterable[Batch], _device: torch.device) -> Reference:
    """Black."""
    return lambda images, _before: torch.zeros_like(images[:1])


def padding(_batches: Iterable[Batch], _device: torch.device) -> Reference:
    """The grey of letterbox padding, which then contributes nothing."""
    return lambda images, _before: torch.full_like(images[:1], PADDING)


def mean(batches: Iterable[Batch], device: torch.device) -> Reference:
    """The mean colour of what all the images show, without their padding."""
    sums = torch.zeros(4, dtype=torch.float64, device=device)  # of the three channels, and the number of pixels
    for batch in batches:
        for image, target in zip(batch["images"], batch["targets"], strict=True):
            content = image[:, target["letterbox"].content_mask(device=image.device)]  # [3, P]
            sums += torch.cat([content.double().sum(1), sums.new_tensor([content.shape[1]])])
    sums = total_over_processes(sums)
    colour = (sums[:3] / sums[3]).view(1, 3, 1, 1)
    return lambda images, _before: colour.to(images).expand(1, 3, *images.shape[-2:])


def blur(_batches: Iterable[Batch], _device: torch.device) -> Reference:
    """Every image itself, without anything smaller than a sixteenth of its shorter side."""
    return _blurred


def clean(_batches: Iterable[Batch], _device: torch.device) -> Reference:
    """Every image itself before the attack: the difference is the attack's doing, and nothing else."""
    return lambda _images, before: before


REFERENCES: dict[str, MakeReference] = {
    "zeros": zeros, "padding": padding, "mean": mean, "blur": blur, "clean": clean,
}  # fmt: skip


def _blurred(images: Tensor, _before: Tensor) -> Tensor:
    sigma = min(images.shape[-2:]) * BLUR_SHARE
    size = 2 * round(2 * sigma) + 1  # two standard deviations to each side, an odd number of pixels
    return gaussian_blur(images, [size, size], [sigma, sigma])
