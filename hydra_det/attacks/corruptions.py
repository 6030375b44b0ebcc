"""What happens to pictures without an attacker: noise, blur, weather and compression, in five severities.

After ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261), which Michaelis et al. (2019, arXiv 1907.07484) took
to detection, with its strengths, which were set for images of 224 px and are applied to the network's input. It is not
that benchmark: frost, glass, elastic and zoom are left out, fog and snow are drawn by simpler rules, and blurs are
plain kernels, a disk and a line on both sides of the pixel.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hydra_det.attacks.ball import frames
from hydra_det.attacks.base import Cost, Losses, check_images
from hydra_det.types import InputError

SEVERITIES = (1, 2, 3, 4, 5)
Draw = torch.Generator | None
# One image [3, H, W] in [0, 1], a severity, a source of randomness on the CPU -> the image, not yet clipped.
Kind = Callable[[Tensor, int, Draw], Tensor]


class Corruption:
    """An attack without an attacker: changes images by a rule that knows nothing of the network.

    Args:
        kind: a key of `CORRUPTIONS`.
        severity: 1 to 5.
    """

    epsilon = 1.0  # it may move a pixel anywhere
    norm = "none"
    cost = Cost(0, 0)

    def __init__(self, *, kind: str, severity: int = 3) -> None:
        if kind not in CORRUPTIONS:
            raise InputError(f"attack.kind: expected one of {', '.join(CORRUPTIONS)}, got {kind!r}")
        if severity not in SEVERITIES or isinstance(severity, bool):
            raise InputError(f"attack.severity: expected a whole number from 1 to 5, got {severity!r}")
        self.kind = kind
        self.severity = severity

    def scaled(self, factor: float) -> "Corruption":
        """Refused: corruptions have no radius to scale."""
        raise InputError(f"ramp_epochs: expected 0 with attack=corruption, which has no epsilon to scale by {factor}")

    def __call__(
        self,
        images: Tensor,
        losses: Losses,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`; the losses are not asked."""
        check_images(images)
        corrupt, changed = CORRUPTIONS[self.kind], images.detach().clone()
        # In full precision whatever the network computes in, and without the padding, which is no part of a picture.
        with torch.autocast(images.device.type, enabled=False):
            for image, (top, left, rows, columns) in zip(changed, frames(images, region), strict=True):
                content = image[:, top : top + rows, left : left + columns]
                content.copy_(corrupt(content.clone(), self.severity, generator).clamp(0, 1))
        return changed


def gaussian_noise(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Normally distributed, in every channel."""
    spread = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return image + spread * torch.randn(image.shape, generator=draw).to(image)


def shot_noise(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Of few photons: Poisson distributed."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return torch.poisson(image.cpu().float() * photons, generator=draw).to(image) / photons


def impulse_noise(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Values that became black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    chance = torch.rand(image.shape, generator=draw).to(image)
    return torch.where(chance < share / 2, 0.0, torch.where(chance > 1 - share / 2, 1.0, image))


def defocus_blur(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """The mean over a disk."""
    radius = (3, 4, 6, 8, 10)[severity - 1]
    reach = torch.arange(-radius, radius + 1)
    return _filter(image, (reach[:, None] ** 2 + reach**2 <= radius**2).float())


def motion_blur(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Along a line of a random direction within 45 degrees of the horizontal."""
    radius, spread = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    angle = (float(torch.rand((), generator=draw)) - 0.5) * torch.pi / 2
    return _filter(image, _streak(radius, spread, angle))


def snow(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Bright streaks over a picture that lost some of its contrast."""
    share, length = ((0.002, 3), (0.004, 4), (0.006, 5), (0.009, 6), (0.013, 8))[severity - 1]
    flakes = (torch.rand((1, *image.shape[1:]), generator=draw) < share).to(image)
    angle = (float(torch.rand((), generator=draw)) * 0.5 + 0.25) * torch.pi  # falling, not flying
    kernel = _streak(length, length / 2, angle)
    streaks = (_filter(flakes, kernel) * (kernel.sum() / kernel.max())).clamp(max=1)
    faded = image + 0.1 * severity * (0.75 - image).clamp(min=0)
    return faded + streaks * (1 - faded)


def fog(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Clouds of all sizes, the largest the strongest, before the picture; its range shrinks to make room for them."""
    amount, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = image.shape[1:]
    clouds, weight, side = torch.zeros(1, 1, height, width), 1.0, 2
    while side <= max(height, width):
        octave = torch.rand((1, 1, side, side), generator=draw)
        clouds += weight * F.interpolate(octave, size=(height, width), mode="bicubic", align_corners=False)
        weight, side = weight / decay, side * 2
    clouds = (clouds - clouds.min()) / (clouds.max() - clouds.min()).clamp(min=1e-6)
    brightest = image.max()
    return (image + amount * clouds[0].to(image)) * brightest / (brightest + amount).clamp(min=1e-6)


def brightness(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """More of V of HSV: the largest channel grows by the same everywhere, and hue and saturation stay."""
    value = image.amax(0, keepdim=True)
    more = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]).clamp(max=1)
    return torch.where(value > 0, image * more / value.clamp(min=1e-6), more)


def contrast(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Nearer to the mean of every channel."""
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = image.mean((1, 2), keepdim=True)
    return mean + factor * (image - mean)


def pixelate(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Fewer pixels, shown as squares."""
    factor = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[1:]
    small = F.adaptive_avg_pool2d(image[None], (max(1, round(height * factor)), max(1, round(width * factor))))
    return F.interpolate(small, size=(height, width), mode="nearest")[0]


def jpeg(image: Tensor, severity: int, draw: Draw) -> Tensor:
    """Compressed by JPEG and read again."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).to(image) / 255


CORRUPTIONS: dict[str, Kind] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "motion_blur": motion_blur,
    "snow": snow,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg": jpeg,
}


def _filter(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel with a kernel [K, K] of an odd side whose sum is made 1; the border is repeated. [C, H, W]"""
    channels, reach = image.shape[0], kernel.shape[0] // 2
    weights = (kernel / kernel.sum()).to(image).expand(channels, 1, -1, -1)
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")
    return F.conv2d(padded, weights, groups=channels)[0]


def _streak(radius: int, spread: float, angle: float) -> Tensor:
    """A line through the centre, fading out as a normal distribution. [2 * radius + 1, 2 * radius + 1]"""
    kernel = torch.zeros(2 * radius + 1, 2 * radius + 1)
    direction = torch.tensor([torch.sin(torch.tensor(angle)), torch.cos(torch.tensor(angle))])
    for at in torch.linspace(-radius, radius, 4 * radius + 1):
        row, column = (radius + at * direction).round().long().tolist()
        kernel[row, column] = torch.exp(-(at**2) / (2 * spread**2))
    return kernel
