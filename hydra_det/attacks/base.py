"""What every attack is: images and a loss in, images in a ball around them out.

An attack knows a loss function and nothing else. The threat model is L-infinity: no pixel channel moves by more than
epsilon, and images stay in [0, 1].
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from hydra_det.types import InputError

# Images [B, 3, H, W] -> the loss of each image [B]. Every value may depend on its own image only.
LossFunction = Callable[[Tensor], Tensor]


class Attack(Protocol):
    """Images to adversarial images."""

    def __call__(
        self,
        images: Tensor,
        loss: LossFunction,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Attack a batch.

        Args:
            images: [B, 3, H, W] in [0, 1].
            loss: what the attack raises.
            region: [B, 1, H, W] bool, where pixels may change; everywhere if None.
            generator: source of randomness, on the CPU; attacks that draw nothing ignore it.

        Returns:
            [B, 3, H, W] in [0, 1], no further than epsilon from `images`, detached.
        """
        ...


def project(perturbed: Tensor, images: Tensor, epsilon: float, region: Tensor | None) -> Tensor:
    """The nearest images in the ball around `images`, in [0, 1], and unchanged outside `region`. [B, 3, H, W]"""
    inside = torch.minimum(torch.maximum(perturbed, images - epsilon), images + epsilon).clamp(0, 1)
    return inside if region is None else torch.where(region, inside, images)


def check_threat(*, epsilon: float, step_size: float | None = None, steps: int | None = None) -> None:
    """Refuse sizes no image in [0, 1] can have."""
    if not 0 <= epsilon <= 1:
        raise InputError(
            f"attack.epsilon: expected a distance in [0, 1] (images are in [0, 1]; 8/255 = 0.031), got {epsilon}"
        )
    if step_size is not None and not 0 < step_size <= 1:
        raise InputError(f"attack.step_size: expected a distance in (0, 1], got {step_size}")
    if steps is not None and steps < 1:
        raise InputError(f"attack.steps: expected at least 1, got {steps}; use attack=none for no attack")
