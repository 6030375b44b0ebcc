"""Our networks, data, AP and attacks for the tools that speak MAITE, the protocols of JATIC: HEART, NRTK, DataEval.

    import maite.tasks
    from hydra_det.maite import MaiteAugmentation, MaiteDataset, MaiteMetric, MaiteModel

The extra `maite` brings the package. docs/api.md shows them at work, alone and beside those of others.
"""

import importlib.util

from hydra_det.errors import InputError

if importlib.util.find_spec("maite") is None:
    raise InputError("hydra_det.maite: expected the package maite, which is not installed; install hydra-det[maite]")

from hydra_det.maite.augmentation import MaiteAugmentation
from hydra_det.maite.dataset import MaiteDataset
from hydra_det.maite.metric import MaiteMetric
from hydra_det.maite.model import MaiteModel

__all__ = ["MaiteAugmentation", "MaiteDataset", "MaiteMetric", "MaiteModel"]
