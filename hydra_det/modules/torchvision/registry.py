"""Torchvision's families by the names of their config files."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.faster_rcnn import FasterRCNNDetector
from hydra_det.modules.torchvision.fcos import FCOSDetector
from hydra_det.modules.torchvision.retinanet import RetinaNetDetector
from hydra_det.modules.torchvision.ssd import SSDDetector, SSDLiteDetector

FAMILIES: dict[str, Any] = {
    "retinanet": RetinaNetDetector,
    "fcos": FCOSDetector,
    "ssd": SSDDetector,
    "ssdlite": SSDLiteDetector,
    "faster_rcnn": FasterRCNNDetector,
}


def family_of(network: nn.Module) -> str | None:
    """The name of the family of a network; None where it is none of these."""
    return next((name for name, kind in FAMILIES.items() if type(network) is kind), None)


def rebuilt(name: str, settings: Mapping[str, Any]) -> Any:
    """A network of a family with random weights, from what `settings()` of another one said."""
    return FAMILIES[name](**{**settings, "nms": NmsSettings(**settings["nms"])})
