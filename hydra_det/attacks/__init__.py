"""Attacks on images: from a loss function to adversarial images in a ball."""

from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise


def no_attack() -> None:
    """The choice to attack nothing: training stays clean and only clean images are scored."""


ATTACKS = {
    "none": no_attack,
    "noise": Noise,
    "fgsm": FGSM,
    "pgd": PGD,
}
