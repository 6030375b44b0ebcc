"""What all of torchvision's detectors share here: their settings, their entry, weights of their backbones."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.backbones import fill
from hydra_det.types import InputError

ANCHOR_SIZES = (32, 64, 128, 256, 512)  # sides in pixels of the anchors of five levels, for images of 800 pixels


class Family(nn.Module):
    """A torchvision detector, which a subclass inherits from beside this one.

    Attributes:
        num_classes: C, without background.
        nms_settings: how detections are selected.
        stride: of the finest level, pixels.
        entry: what images pass first.
    """

    backbone: Any  # torchvision's, of the other parent

    def _settle(self, num_classes: int, nms: NmsSettings, *, stride: int, entry: Entry, **settings: Any) -> None:
        """What a constructor adds to torchvision's; `settings` are its other arguments."""
        self._arguments = {"num_classes": num_classes, **settings}
        self.num_classes = num_classes
        self.nms_settings = nms
        self.stride = stride
        self.entry = entry

    @property
    def least_side(self) -> int:
        """Of the smallest image that it takes, pixels."""
        return self.entry.least

    def settings(self) -> dict[str, Any]:
        """The arguments that make such a network; plain values."""
        return {**self._arguments, "nms": dataclasses.asdict(self.nms_settings)}

    def load_backbone(self, path: Path) -> None:
        """Fill the backbone with the weights of a classifier, see `backbones.fill`."""
        fill(self.backbone.body, path)


def at_least_float32(maps: Tensor) -> Tensor:
    """Maps of 16 bits in float32; others as they are."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def check_classes(num_classes: int) -> int:
    """A number of classes that a head can have."""
    if num_classes < 1:
        raise InputError(f"model.num_classes: expected at least 1, got {num_classes}")
    return num_classes
