"""The template of every attack: images and losses in, images in a ball around them out.

A subclass says how one try goes (`_once`); the template repeats it, keeps the strongest try of every image, and rounds
to the 8 bits of a picture file where that is asked. An attack knows loss functions and nothing else of the network.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from hydra_det.attacks.ball import Ball, check_radius
from hydra_det.attacks.objectives.registry import check_objective
from hydra_det.types import InputError, NotFiniteError

# Images [B, 3, H, W] -> the loss of each image [B]. Its gradient may depend on its own image only; so does its value,
# but that of AP, which ranks the detections of all images.
LossFunction = Callable[[Tensor], Tensor]
# What a network can be attacked for, by the names in `objectives/registry.py`.
Losses = Mapping[str, LossFunction]

log = logging.getLogger(__name__)

LEVELS = 255  # steps of a channel of a picture file between black and white


class Cost(NamedTuple):
    """What an attack takes for a batch.

    Attributes:
        gradients: forward passes with a backward pass to the images.
        forwards: forward passes alone.
    """

    gradients: int
    forwards: int


class Task(NamedTuple):
    """What one try is given."""

    images: Tensor  # [B, 3, H, W] in [0, 1]
    loss: LossFunction  # is raised
    region: Tensor | None  # [B, 1, H, W] bool, where pixels may change; everywhere if None
    generator: torch.Generator | None  # source of randomness, on the CPU
    first: bool  # the first try may start at the images, all others draw where they start
    losses: Losses  # what else the network can be attacked for


class Attack(Protocol):
    """Images to adversarial images.

    Attributes:
        epsilon: radius of the ball.
        norm: of the ball.
        cost: of a batch.
    """

    epsilon: float
    norm: str

    @property
    def cost(self) -> Cost: ...

    def scaled(self, factor: float) -> "Attack":
        """The same attack in a ball of `factor` times the radius."""
        ...

    def __call__(
        self,
        images: Tensor,
        losses: Losses,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Attack a batch.

        Args:
            images: [B, 3, H, W] in [0, 1].
            losses: what an attack may raise.
            region: [B, 1, H, W] bool, where pixels may change; everywhere if None.
            generator: source of randomness, on the CPU; attacks that draw nothing ignore it.

        Returns:
            [B, 3, H, W] in [0, 1], no further than epsilon from `images`, detached.

        Raises:
            InputError: images are not in [0, 1].
        """
        ...


class BallAttack:
    """An attack within a ball.

    Args:
        epsilon: radius of the ball; for `linf` in units of images in [0, 1], 8/255 = 0.031.
        norm: a key of `ball.NORMS`.
        objective: a key of `objectives.registry.OBJECTIVES`, the loss that is raised.
        restarts: independent tries, of which every image keeps the one with the highest loss.
        eight_bit: round to values that a picture file can hold, inside the ball; `linf` only.
        padding: letterbox padding may change too; who calls the attack gives it a region that says so.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        norm: str = "linf",
        objective: str = "total",
        restarts: int = 1,
        eight_bit: bool = False,
        padding: bool = False,
    ) -> None:
        check_objective(objective)
        check_count("restarts", restarts)
        check_radius(epsilon, norm)
        for name, value in (("eight_bit", eight_bit), ("padding", padding)):
            if not isinstance(value, bool):
                raise InputError(f"attack.{name}: expected true or false, got {value!r}")
        if eight_bit and norm != "linf":
            raise InputError(f"attack.eight_bit: expected norm=linf, got {norm}; rounding would leave that ball")
        self.ball = Ball(epsilon, norm)
        self.epsilon = epsilon
        self.norm = norm
        self.objective = objective
        self.restarts = restarts
        self.eight_bit = eight_bit
        self.padding = padding

    def __call__(
        self,
        images: Tensor,
        losses: Losses,
        *,
        region: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Attack`."""
        check_images(images)
        images, loss = images.detach(), losses[self.objective]
        if self.epsilon == 0:
            return images.clone()

        def once(*, first: bool) -> Tensor:
            found = self._once(Task(images, loss, region, generator, first, losses))
            return to_eight_bit(found, images, self.epsilon, region) if self.eight_bit else found

        best = once(first=True)
        if self.restarts > 1:
            reached = evaluate(loss, best)
            for _ in range(self.restarts - 1):
                other = once(first=False)
                best, reached = stronger(best, reached, other, evaluate(loss, other))
        return best

    def scaled(self, factor: float) -> Self:
        """The same attack in a ball of `factor` times the radius, with steps scaled alike."""
        made = copy.copy(self)
        made.epsilon = factor * self.epsilon
        made.ball = Ball(made.epsilon, self.norm)
        return made

    @property
    def cost(self) -> Cost:
        """Of all tries, and of the passes that choose among them."""
        once = self.cost_of_a_try
        choosing = self.restarts if self.restarts > 1 else 0
        return Cost(once.gradients * self.restarts, once.forwards * self.restarts + choosing)

    @property
    def cost_of_a_try(self) -> Cost:
        """Passes of `_once`."""
        raise NotImplementedError

    def _once(self, task: Task) -> Tensor:
        """One try. -> [B, 3, H, W] in the ball, detached"""
        raise NotImplementedError


def changes_padding(attack: object) -> bool:
    """Whether an attack may change letterbox padding, which only attacks in a ball can be told."""
    return bool(getattr(attack, "padding", False))


def gradient_of(loss: LossFunction, images: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass and one backward pass to the images. -> loss [B], gradient [B, 3, H, W], both detached

    What is not finite in a gradient is 0 in the answer, and a warning says so: an image that such a gradient guards
    only seems robust.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        value = loss(images)
        (gradient,) = torch.autograd.grad(value.sum(), images)
    if broken := int((~gradient.isfinite()).any(dim=3).any(dim=2).any(dim=1).sum()):
        log.warning("gradients of %d of %d attacked images are not finite: they only seem robust", broken, len(images))
    return value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)


def evaluate(loss: LossFunction, images: Tensor) -> Tensor:
    """The loss of every image, without gradients. [B]"""
    with torch.no_grad():
        return loss(images)


def stronger(first: Tensor, reached: Tensor, second: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Of every image the version with the higher loss, the first one if they are equal. [B, 3, H, W], [B]"""
    better = other > reached
    return torch.where(better[:, None, None, None], second, first), torch.where(better, other, reached)


def to_eight_bit(adversarial: Tensor, images: Tensor, epsilon: float, region: Tensor | None) -> Tensor:
    """The nearest values of a picture file within epsilon of every pixel channel in the region. [B, 3, H, W]

    Where the ball holds no such value (epsilon below 1/510) it is the one nearest to the image.
    """
    nearest = (images * LEVELS).round()
    low = torch.minimum(((images - epsilon) * LEVELS - 1e-3).ceil(), nearest)
    high = torch.maximum(((images + epsilon) * LEVELS + 1e-3).floor(), nearest)
    rounded = torch.minimum(torch.maximum((adversarial * LEVELS).round(), low), high).clamp(0, LEVELS) / LEVELS
    return rounded if region is None else torch.where(region, rounded, images)


def check_images(images: Tensor) -> None:
    """Refuse images that are not in [0, 1]."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also if one is NaN
        if broken := (~images.isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
            raise NotFiniteError(
                f"attack: expected finite images, got {len(broken)} of {len(images)} that are not; look at them with "
                "doctor.py",
                positions=broken,
            )
        raise InputError(f"attack: expected images in [0, 1], got values from {low:.4g} to {high:.4g}; divide by 255?")


def check_count(name: str, value: int, *, least: int = 1, group: str = "attack") -> None:
    """Refuse what is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        advice = "; use attack=none for no attack" if name == "steps" else ""
        raise InputError(f"{group}.{name}: expected a whole number of at least {least}, got {value!r}{advice}")
