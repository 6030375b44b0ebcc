"""The set of images an attack may choose from: a ball around the clean image, cut with the cube [0, 1].

L-infinity: no pixel channel moves by more than epsilon. L2: the Euclidean distance over all pixels and channels of an
image is at most epsilon.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hydra_det.types import InputError, as_distance

NORMS = ("linf", "l2")
SIDES = (1, 2, 3)  # the dimensions of one image
LARGEST_L2 = 1e4  # above the diagonal of the cube of any image up to 5773 px a side
TINY = 1e-12


class Ball(NamedTuple):
    """A ball of radius `epsilon`; every method treats the images of a batch apart."""

    epsilon: float
    norm: str = "linf"

    def project(self, moved: Tensor, images: Tensor, region: Tensor | None) -> Tensor:
        """Images in the ball and in [0, 1], unchanged outside `region` [B, 1, H, W]. [B, 3, H, W]

        The nearest ones for L-infinity. For L2 first the ball and then the cube, which brings no image out of the ball.
        """
        if self.norm == "l2":
            change = moved - images
            change = change if region is None else change * region
            moved = images + change * (self.epsilon / _length(change)).clamp(max=1.0)
        else:
            moved = torch.minimum(torch.maximum(moved, images - self.epsilon), images + self.epsilon)
        moved = moved.clamp(0, 1)
        return moved if region is None else torch.where(region, moved, images)

    def ascent(self, gradient: Tensor, region: Tensor | None) -> Tensor:
        """The direction of length 1 that raises a linear loss most: sign, or gradient over its length. [B, 3, H, W]"""
        if self.norm == "linf":
            return gradient.sign()
        gradient = gradient if region is None else gradient * region
        return gradient / _length(gradient)

    def random(self, images: Tensor, region: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Uniformly drawn points of the ball, projected. [B, 3, H, W]"""
        # Drawn on the CPU so that every device sees the same noise.
        if self.norm == "linf":
            change = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
        else:
            change = torch.randn(images.shape, generator=generator).to(images)
            change = change if region is None else change * region
            free = change.new_full((len(change), 1, 1, 1), float(change[0].numel()))
            if region is not None:
                free = region.sum(SIDES, keepdim=True).to(change) * change.shape[1]
            radius = torch.rand((len(change), 1, 1, 1), generator=generator).to(change) ** (1 / free.clamp(min=1))
            change = change / _length(change) * radius
        return self.project(images + self.epsilon * change, images, region)


def check_radius(epsilon: float, norm: str, *, group: str = "attack") -> None:
    """Refuse a radius that no ball of images has."""
    if norm not in NORMS:
        raise InputError(f"{group}.norm: expected one of {', '.join(NORMS)}, got {norm!r}")
    if not isinstance(epsilon, int | float) or isinstance(epsilon, bool):
        raise InputError(f"{group}.epsilon: expected a distance, got {as_distance(epsilon)}")
    if norm == "linf" and not 0 <= epsilon <= 1:
        raise InputError(
            f"{group}.epsilon: expected a distance in [0, 1] (images are in [0, 1]; 8/255 = 0.031), "
            f"got {as_distance(epsilon)}"
        )
    if not 0 <= epsilon <= LARGEST_L2:
        raise InputError(f"{group}.epsilon: expected a Euclidean distance in [0, {LARGEST_L2:g}], got {epsilon}")


def check_step(step_size: float, norm: str) -> None:
    """Refuse a step that leads nowhere or out of every ball."""
    longest = 1.0 if norm == "linf" else LARGEST_L2
    if not (0 < step_size <= longest and math.isfinite(step_size)):
        raise InputError(f"attack.step_size: expected a distance in (0, {longest:g}], got {step_size}")


def frames(images: Tensor, region: Tensor | None) -> list[tuple[int, int, int, int]]:
    """The smallest frame around the region of every image: first row and column, rows, columns."""
    _, _, height, width = images.shape
    if region is None:
        return [(0, 0, height, width)] * len(images)
    frames = []
    for mask in region[:, 0]:
        rows, columns = (mask.any(dim=side).nonzero().flatten().tolist() or [0] for side in (1, 0))
        frames.append((rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    return frames


def _length(change: Tensor) -> Tensor:
    """Euclidean, never 0. [B, 3, H, W] -> [B, 1, 1, 1]"""
    return change.flatten(1).norm(dim=1).clamp(min=TINY)[:, None, None, None]
