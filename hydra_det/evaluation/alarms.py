"""What should make a reader doubt a robustness number (Carlini et al. 2019, arXiv 1902.06705; Athalye et al. 2018,
arXiv 1802.00420).

Each alarm is one figure against one limit. An attack that the suite did not run leaves its alarm unchecked, which is
said.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from hydra_det.records.robustness import Alarm

# Members of a suite that an alarm is about, by their names in conf/suite.
NOISE, FGSM, FEW, PGD, DOUBLED, LARGE, ROUNDED, FREE = (
    "noise", "fgsm", "pgd_5", "pgd", "pgd_doubled", "pgd_large", "pgd_eight_bit", "apgd",
)  # fmt: skip
BLACK_BOX = ("square", "transfer")
MEMBERS = (NOISE, FGSM, FEW, PGD, DOUBLED, LARGE, ROUNDED, FREE, *BLACK_BOX)

CHANCE = 0.02  # of clean AP: differences below mean nothing
NOTICEABLE = 0.05  # of clean AP
ZERO_GRADIENTS = 0.1  # of the values of the gradient
FALLING = 0.1  # of the steps


def find_alarms(
    clean: float,
    attacked: Mapping[str, float],
    *,
    inside: Collection[str],
    combined: float | None,
    guided: Collection[str],
    zero_gradients: float,
    rising: float,
) -> list[Alarm]:
    """All alarms, raised or not; where clean AP is 0 those about AP are not checked.

    Args:
        clean: AP without an attack.
        attacked: AP under every attack, by its name in the suite.
        inside: the attacks in the ball of the suite.
        combined: AP of the worst case over these; None: there is none.
        guided: the attacks that follow gradients of this very network, in the ball of the suite.
        zero_gradients: share of the gradient of the loss by the image that is exactly 0.
        rising: share of the steps along the gradient that raise the loss.
    """

    def lower(first: Sequence[str], second: Collection[str]) -> float | None:
        """By how much the lowest AP of some attacks is below that of others, as a share of clean AP."""
        low, high = ([attacked[name] for name in names if name in attacked] for names in (first, second))
        return (min(high) - min(low)) / clean if low and high and clean else None

    strongest = min((attacked[name] for name in inside), default=None)
    gap = None if strongest is None or combined is None or not clean else (strongest - combined) / clean
    left = attacked[LARGE] / clean if LARGE in attacked and clean else None
    figures = {
        "zero gradients": (zero_gradients, ZERO_GRADIENTS, "of the gradient of the loss by the image is exactly 0"),
        "loss not rising": (1 - rising, FALLING, "of the steps along the gradient do not raise the loss"),
        "noise beats FGSM": (lower([NOISE], [FGSM]), CHANCE, LOWER),
        "fewer steps beat more": (lower([FGSM, FEW], [PGD]), CHANCE, LOWER),
        "more steps gain": (lower([DOUBLED], [PGD]), NOTICEABLE, LOWER),
        "another step size gains": (lower([FREE], [PGD, DOUBLED]), NOTICEABLE, LOWER),
        **{f"{name} beats gradients": (lower([name], guided), CHANCE, LOWER) for name in BLACK_BOX},
        "survives a large ball": (left, NOTICEABLE, "of clean AP left at epsilon 64/255"),
        "no attack near the worst case": (
            gap,
            NOTICEABLE,
            "of clean AP between the strongest attack and the worst case",
        ),
        "rounding saves": (lower([PGD], [ROUNDED]), NOTICEABLE, "of clean AP regained by rounding to 8 bits"),
    }
    return [_alarm(name, *figure) for name, figure in figures.items()]


LOWER = "of clean AP below what the attack that should be stronger leaves"


def rise_alarm(clean: float, maps: Sequence[float]) -> Alarm:
    """Whether AP rises anywhere although the attack gets stronger.

    Args:
        clean: AP without an attack.
        maps: AP under attacks of rising strength.
    """
    rise = max((after - before for before, after in pairwise([clean, *maps])), default=0.0)
    return _alarm("AP rises with strength", rise / clean if clean else None, CHANCE, "of clean AP gained by a step")


def _alarm(name: str, figure: float | None, limit: float, meaning: str) -> Alarm:
    raised = None if figure is None else figure > limit
    return Alarm(name=name, figure=figure, limit=limit, raised=raised, meaning=meaning)
