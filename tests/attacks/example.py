"""Every attack with settings that a test can afford."""

from functools import partial
from typing import Any

from hydra_det.attacks import ATTACKS
from hydra_det.attacks.apgd import APGD
from hydra_det.attacks.carlini_wagner import CarliniWagner
from hydra_det.attacks.square import Square

BUILD: dict[str, Any] = {
    **ATTACKS,
    "apgd": partial(APGD, steps=12),
    "carlini_wagner": partial(CarliniWagner, searches=2, steps=10),
    "square": partial(Square, queries=40),
}
REAL = [name for name in ATTACKS if name not in ("none", "corruption")]  # those with a ball
GUIDED = [name for name in REAL if name != "noise"]  # those that ask the loss
MODEST = ("carlini_wagner", "square")  # the first moves no more than it must, the second not where it gains nothing
