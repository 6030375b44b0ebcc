"""What the gradient of a network looks like to an attack: whether there is one, and whether it leads anywhere."""

from typing import NamedTuple

import torch
from torch import Tensor

from hydra_det.attacks.ball import Ball
from hydra_det.attacks.base import Losses, gradient_of


class Diagnosis(NamedTuple):
    """Over the images of one batch.

    Attributes:
        zero_gradients: share of the values of the gradient at the clean images that are exactly 0 or not finite.
        curve: mean loss at the clean images and after every step.
    """

    zero_gradients: float
    curve: list[float]

    @property
    def rising(self) -> float:
        """Share of the steps that raise the mean loss."""
        steps = len(self.curve) - 1
        return sum(after > before for before, after in zip(self.curve, self.curve[1:], strict=False)) / steps


def diagnose(images: Tensor, losses: Losses, *, region: Tensor | None, epsilon: float, steps: int = 10) -> Diagnosis:
    """Walk from the images along the sign of the gradient, epsilon / steps at a time.

    Args:
        images: [B, 3, H, W] in [0, 1].
        losses: of the network; the total one is raised.
        region: as for an attack.
        epsilon: length of the whole walk.
        steps: of the walk.
    """
    ball, current, curve, zeros = Ball(epsilon), images.detach(), [], 0.0
    for step in range(steps + 1):
        value, gradient = gradient_of(losses["total"], current)
        curve.append(float(value.mean()))
        if step == 0:
            inside = torch.ones_like(gradient, dtype=torch.bool) if region is None else region.expand_as(gradient)
            here = gradient[inside]
            zeros = float(((here == 0) | ~here.isfinite()).float().mean())
        current = ball.project(current + epsilon / steps * gradient.nan_to_num().sign(), images, region)
    return Diagnosis(zeros, curve)
