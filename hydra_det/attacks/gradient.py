"""Attacks along the sign of the gradient: PGD (Madry et al. 2018, arXiv 1706.06083), and FGSM, one step of it."""

import torch
from torch import Tensor

from hydra_det.attacks.base import LossFunction, check_threat, project


class PGD:
    """Projected gradient ascent on the loss in the L-infinity ball.

    The defaults are Algorithm 1 of Liu, "Efficient and Adversarially Robust Object Detection": 5 steps of 0.02 in a
    ball of 0.05, starting from the image itself, the last iterate is the answer. One forward pass and one backward pass
    to the image a step.

    Args:
        epsilon: radius of the ball, in units of images in [0, 1].
        step_size: length of one step, same unit.
        steps: number of steps.
        random_start: start at a uniformly drawn point of the ball instead of at the image.
    """

    def __init__(
        self, *, epsilon: float = 0.05, step_size: float = 0.02, steps: int = 5, random_start: bool = False
    ) -> None:
        check_threat(epsilon=epsilon, step_size=step_size, steps=steps)
        self.epsilon = epsilon
        self.step_size = step_size
        self.steps = steps
        self.random_start = random_start

    def __call__(
        self,
        images: Tensor,
        loss: LossFunction,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`."""
        adversarial = images.detach()
        if self.random_start:
            adversarial = uniform_in_ball(adversarial, self.epsilon, region, generator)
        for _ in range(self.steps):
            with torch.enable_grad():
                adversarial = adversarial.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(loss(adversarial).sum(), adversarial)
            moved = adversarial.detach() + self.step_size * gradient.sign()
            adversarial = project(moved, images, self.epsilon, region)
        return adversarial.detach()


class FGSM(PGD):
    """The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): PGD with one step of length epsilon."""

    def __init__(self, *, epsilon: float = 0.05) -> None:
        check_threat(epsilon=epsilon)
        super().__init__(epsilon=epsilon, step_size=epsilon or 1.0, steps=1)


def uniform_in_ball(images: Tensor, epsilon: float, region: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Images plus noise drawn uniformly from [-epsilon, epsilon], projected. [B, 3, H, W]"""
    # Drawn on the CPU so that every device sees the same noise.
    noise = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    return project(images + epsilon * noise, images, epsilon, region)
