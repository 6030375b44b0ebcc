"""What should make a reader doubt a robustness number (Carlini et al. 2019, arXiv 1902.06705; Athalye et al. 2018,
arXiv 1802.00420).

Each alarm is one figure against one limit. An attack that the suite did not run leaves its alarm unchecked, which is
said.
"""

from collections.abc import Mapping

from hydra_det.record import Alarm

WHITE_BOX = ("fgsm", "pgd", "pgd_doubled", "apgd", "task_wise", "vanishing", "fabrication", "mislabelling")
BLACK_BOX = ("square", "transfer")
SLACK = 0.02  # of clean AP: differences below are chance
ZERO_GRADIENTS = 0.1  # of the values of the gradient
RISING = 0.9  # of the steps must raise the loss
LARGE_EPSILON_LEAVES = 0.05  # of clean AP under a ball in which any picture becomes grey
DOUBLING_GAINS = 0.05  # of clean AP
EIGHT_BIT_COSTS = 0.05  # of clean AP
STRONGEST = "of clean AP lower than under the strongest attack with gradients"


def find_alarms(clean: float, attacked: Mapping[str, float], *, zero_gradients: float, rising: float) -> list[Alarm]:
    """All alarms, raised or not.

    Args:
        clean: AP without an attack.
        attacked: AP under every attack, by its name in the suite.
        zero_gradients: share of the gradient of the loss by the image that is exactly 0.
        rising: share of the steps of PGD that raise the loss.
    """
    white = min((attacked[name] for name in WHITE_BOX if name in attacked), default=None)
    scale = max(clean, 1e-9)

    def share(name: str, other: float | None) -> float | None:
        """How much lower AP is under an attack than another figure, as a share of clean AP."""
        return None if other is None or name not in attacked else (other - attacked[name]) / scale

    large = attacked.get("pgd_large")
    eight_bit = share("pgd", attacked.get("pgd_eight_bit"))
    left = None if large is None else large / scale
    figures = {
        "zero gradients": (zero_gradients, ZERO_GRADIENTS, "of the gradient of the loss by the image is exactly 0"),
        "loss not rising": (1 - rising, 1 - RISING, "of the steps of PGD do not raise the loss"),
        "noise beats gradients": (share("noise", attacked.get("fgsm")), SLACK, "of clean AP lower than under FGSM"),
        **{f"{name} beats white box": (share(name, white), SLACK, STRONGEST) for name in BLACK_BOX},
        "survives a large ball": (left, LARGE_EPSILON_LEAVES, "of clean AP left at epsilon 64/255"),
        "more steps gain": (
            share("pgd_doubled", attacked.get("pgd")),
            DOUBLING_GAINS,
            "of clean AP by twice the steps",
        ),
        "rounding saves": (eight_bit, EIGHT_BIT_COSTS, "of clean AP regained by rounding to 8 bits"),
    }
    return [
        Alarm(name=name, figure=figure, limit=limit, raised=None if figure is None else figure > limit, meaning=meaning)
        for name, (figure, limit, meaning) in figures.items()
    ]
