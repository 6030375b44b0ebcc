"""Torchvision's families as small as they come, and the networks that torchvision itself makes of the same weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.models.detection as official
from torch import Tensor, nn

from hydra_det.boxes import Letterbox
from hydra_det.modules.torchvision.faster_rcnn import FasterRCNNDetector
from hydra_det.modules.torchvision.fcos import FCOSDetector
from hydra_det.modules.torchvision.retinanet import RetinaNetDetector
from hydra_det.modules.torchvision.ssd import SSDDetector, SSDLiteDetector
from hydra_det.types import Target

CLASSES = 3
SIZES = {"retinanet": 64, "fcos": 64, "ssd": 320, "ssdlite": 320, "faster_rcnn": 64, "faster_rcnn_mobilenet": 64}
FAMILIES: dict[str, Callable[..., Any]] = {
    "retinanet": RetinaNetDetector,
    "fcos": FCOSDetector,
    "ssd": SSDDetector,
    "ssdlite": SSDLiteDetector,
    "faster_rcnn": FasterRCNNDetector,
    "faster_rcnn_mobilenet": lambda **options: FasterRCNNDetector(backbone="mobilenet_v3_large", **options),
}
# VGG-16 takes seconds for every pass.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "ssd" else name for name in FAMILIES]
_NONE = {"weights": None, "weights_backbone": None}
_ONE_STAGE = {"score_thresh": 0.001, "nms_thresh": 0.6, "detections_per_img": 100, "topk_candidates": 3000}
_TWO_STAGES = {"box_score_thresh": 0.001, "box_nms_thresh": 0.6, "box_detections_per_img": 100, "rpn_score_thresh": 0.0}


def family(name: str, *, seed: int = 0, small: bool = True) -> Any:
    """A seeded network whose statistics are those of no untrained one, in eval mode."""
    torch.manual_seed(seed)
    options = {"backbone": "resnet18"} if small and name in ("retinanet", "fcos", "faster_rcnn") else {}
    return settled(FAMILIES[name](num_classes=CLASSES, **options), SIZES[name]).eval()


def settled(net: nn.Module, size: int) -> nn.Module:
    """Statistics as after training, and heads that answer differently from place to place."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [module.momentum for module in norms]
    with torch.no_grad():
        for module in norms:
            module.momentum = 1.0  # those of one batch alone
        net.train()(torch.rand(4, 3, size, size))
        for module, momentum in zip(norms, usual, strict=True):
            module.momentum = momentum
        for name, parameter in net.named_parameters():
            if name.startswith(("head", "rpn")) and parameter.ndim > 1:
                parameter.mul_(3)
    return net


def theirs(name: str) -> Any:
    """What torchvision's own builder makes, with the settings of ours, for images that it does not scale."""
    size = SIZES[name]
    if name in ("ssd", "ssdlite"):
        build = official.ssd300_vgg16 if name == "ssd" else official.ssdlite320_mobilenet_v3_large
        made: Any = build(**_NONE, **_ONE_STAGE, num_classes=1 + CLASSES)
        made.transform.fixed_size = (size, size)
        made.anchor_generator.steps = None  # of SSD300 they hold at 300 pixels alone
        return made
    fixed = {"min_size": size, "max_size": size}
    if name in ("retinanet", "fcos"):
        build = official.retinanet_resnet50_fpn if name == "retinanet" else official.fcos_resnet50_fpn
        return build(**_NONE, **_ONE_STAGE, **fixed, num_classes=CLASSES)
    build = official.fasterrcnn_resnet50_fpn if name == "faster_rcnn" else official.fasterrcnn_mobilenet_v3_large_fpn
    return build(**_NONE, **_TWO_STAGES, **fixed, num_classes=1 + CLASSES)


def pictures(name: str, *, count: int = 2, seed: int = 0) -> Tensor:
    """Images of the size of a family. [count, 3, S, S]"""
    size = SIZES[name]
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def targets(name: str) -> list[Target]:
    """Of two images: two objects, and one."""
    size = SIZES[name]
    shares = [([[0.1, 0.1, 0.6, 0.7], [0.5, 0.4, 0.95, 0.9]], [0, 2]), ([[0.3, 0.2, 0.8, 0.8]], [1])]
    return [
        Target(
            boxes=size * torch.tensor(boxes),
            labels=torch.tensor(labels),
            image_id=number,
            letterbox=Letterbox(size, size, size),
        )
        for number, (boxes, labels) in enumerate(shares)
    ]
