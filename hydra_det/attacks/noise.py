"""Noise: the control that knows no gradient. A robust network must beat it with ease, an attack must beat it always."""

import torch
from torch import Tensor

from hydra_det.attacks.base import LossFunction, check_threat
from hydra_det.attacks.gradient import uniform_in_ball


class Noise:
    """Uniform noise in the L-infinity ball.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
    """

    def __init__(self, *, epsilon: float = 0.05) -> None:
        check_threat(epsilon=epsilon)
        self.epsilon = epsilon

    def __call__(
        self,
        images: Tensor,
        loss: LossFunction,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`; the loss is not asked."""
        return uniform_in_ball(images.detach(), self.epsilon, region, generator)
