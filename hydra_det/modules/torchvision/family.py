"""What all of torchvision's detectors share here: their settings, their entry, weights of their backbones."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.backbones import fill
from hydra_det.types import InputError

log = logging.getLogger(__name__)

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

    @classmethod
    def check_earlier(cls, settings: Mapping[str, Any], path: Path, read: Callable[[], Mapping[str, Any]]) -> None:
        """Refuse weights of an earlier run that learned with other anchors; arguments as in `yolo.anchors`."""
        try:
            earlier = read()
        except InputError:
            log.warning(
                "model.weights: the anchors that they were trained with are unknown, as %s cannot be read", path
            )
            return
        mine, theirs = (list(of.get("anchor_sizes") or ANCHOR_SIZES) for of in (settings, earlier))
        # Of other classes the heads are made anew, and they learn with any anchors.
        if earlier.get("num_classes") == settings.get("num_classes") and mine != theirs:
            raise InputError(
                f"model.weights={settings['weights']}: expected weights that were trained with anchors of {mine} px, "
                f"found {theirs}; add 'model.anchor_sizes={theirs}'"
            )

    def load_backbone(self, path: Path) -> None:
        """Fill the backbone with the weights of a classifier, see `backbones.fill`."""
        fill(self.backbone.body, path)


def at_least_float32(maps: Tensor) -> Tensor:
    """Maps of 16 bits in float32; others as they are."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def check_anchor_sizes(sizes: Sequence[float], levels: int | None) -> None:
    """Refuse sides of anchors that are no lengths, or not one for each of so many levels (None: any number)."""
    wanted = "sides in pixels" if levels is None else f"{levels} sides in pixels, one for each level"
    sound = all(isinstance(side, int | float) and 0 < side < math.inf for side in sizes)
    if not sound or not sizes or (levels is not None and len(sizes) != levels):
        raise InputError(f"model.anchor_sizes: expected {wanted}, got {list(sizes)}")


def check_classes(num_classes: int) -> int:
    """A number of classes that a head can have."""
    if num_classes < 1:
        raise InputError(f"model.num_classes: expected at least 1, got {num_classes}")
    return num_classes
