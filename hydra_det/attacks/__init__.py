"""Attacks on images: from a loss function to adversarial images in a ball."""

from collections.abc import Callable

from hydra_det.attacks.base import Attack
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise


def no_attack() -> None:
    """The choice to attack nothing: training stays clean and only clean images are scored."""


ATTACKS: dict[str, Callable[..., Attack | None]] = {
    "none": no_attack,
    "noise": Noise,
    "fgsm": FGSM,
    "pgd": PGD,
}
