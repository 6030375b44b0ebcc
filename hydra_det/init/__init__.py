"""Score initialisers: what a weight is worth before its score is trained."""

from hydra_det.init.deeplift import AdversarialDeepLift, DeepLift
from hydra_det.init.gradient import Snip, Taylor
from hydra_det.init.scaled import Scaled
from hydra_det.init.simple import Magnitude, Random
from hydra_det.init.synflow import SynFlow

INITIALISERS = {
    "scaled": Scaled,
    "deeplift": AdversarialDeepLift,
    "deeplift_paper": DeepLift,
    "snip": Snip,
    "taylor": Taylor,
    "synflow": SynFlow,
    "magnitude": Magnitude,
    "random": Random,
}
