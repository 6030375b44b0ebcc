"""Attacks on images: from a loss function to adversarial images in a ball."""

from collections.abc import Callable

from hydra_det.attacks.apgd import APGD
from hydra_det.attacks.base import Attack
from hydra_det.attacks.carlini_wagner import CarliniWagner
from hydra_det.attacks.corruptions import Corruption
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.momentum import Momentum
from hydra_det.attacks.noise import Noise
from hydra_det.attacks.square import Square
from hydra_det.attacks.task_wise import TaskWise


def no_attack() -> None:
    """The choice to attack nothing: training stays clean and only clean images are scored."""


ATTACKS: dict[str, Callable[..., Attack | None]] = {
    "none": no_attack,
    "noise": Noise,
    "fgsm": FGSM,
    "pgd": PGD,
    "apgd": APGD,
    "carlini_wagner": CarliniWagner,
    "task_wise": TaskWise,
    "average_precision": Momentum,
    "square": Square,
    "corruption": Corruption,
}
