"""Score initialisers: what a weight is worth before its score is trained."""

from hydra_det.init.scaled import Scaled
from hydra_det.init.simple import Magnitude, Random

INITIALISERS = {
    "scaled": Scaled,
    "magnitude": Magnitude,
    "random": Random,
}
