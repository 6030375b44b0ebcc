"""The network that a `.cfg` describes, as a detector of the YOLO family."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hydra_det.modules.darknet.assembly import Assembly, assemble
from hydra_det.modules.darknet.cfg import read_cfg
from hydra_det.modules.darknet.layers import essential
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.yolo.loss import LossSettings
from hydra_det.types import InputError

log = logging.getLogger(__name__)


class DarknetDetector(GraphDetector):
    """A detector from Darknet's text: `.cfg` in, the network that it describes out.

    Anchors, classes and strides are those of its `[yolo]` sections. Dropout is left out, in training too.

    Args:
        cfg: path of the file, or its text, which has several lines.
        num_classes: of the data; None: whatever the file says.
        loss: see `LossSettings`.
        nms: see `NmsSettings`.

    Attributes:
        stored: the convolutions in the order of Darknet's `.weights` file.
        made_for: width and height of the image that the file names, pixels.

    Raises:
        InputError: the file cannot be read, or has what is not supported, or other classes than the data.
    """

    def __init__(
        self,
        *,
        cfg: str | Path | None = None,
        num_classes: int | None = None,
        loss: LossSettings | None = None,
        nms: NmsSettings | None = None,
    ) -> None:
        if cfg is None:
            raise InputError("model.cfg: expected the path of a .cfg file of Darknet, got none")
        made = assemble(read_cfg(cfg))
        _check_classes(made, num_classes)
        levels = made.levels
        super().__init__(
            made.graph,
            num_classes=levels[0].yolo.classes,
            anchors=[anchor for level in reversed(levels) for anchor in level.yolo.anchors],
            strides=[level.stride for level in levels],
            scales=[level.yolo.scale for level in levels],
            loss=loss,
            nms=nms,
        )
        self.stored = made.stored
        self.text = text_of(cfg)
        self.made_for = made.net.width, made.net.height
        for head in (layer.conv for layer in made.stored if layer.head):
            module: Any = self.get_submodule(head)
            self._at_prior(module)
        if False in (made.net.letterbox, *(level.yolo.letterbox for level in levels)):
            log.info("model.cfg: letter_box=0 asks for stretched images; here they keep their aspect ratio")

    def identity(self) -> dict[str, Any]:
        """See `YoloDetector`; with what the .cfg says."""
        return {**super().identity(), "cfg": self.text}

    @classmethod
    def settled(cls, settings: Mapping[str, Any], *, train_boxes: Callable[[], Tensor] | None) -> dict[str, Any]:
        """Its settings with the text of its .cfg: a run stays what it is when the file changes."""
        found = super().settled(settings, train_boxes=train_boxes)
        return {**found, "cfg": text_of(found["cfg"])} if found.get("cfg") else found


def text_of(cfg: str | Path) -> str:
    """What a network depends on of its `.cfg`, for a config that stays true when the file moves or changes."""
    return essential(read_cfg(cfg))


def _check_classes(made: Assembly, num_classes: int | None) -> None:
    """Refuse data of other classes, and say what to change: Darknet's users edit the file."""
    found = made.levels[0].yolo.classes
    if num_classes in (None, found):
        return
    yolos = [level.yolo.section for level in made.levels]
    heads = [level.head.section for level in made.levels]
    lines = ["/".join(str(s.options[key].line if key in s.options else s.line) for s in sections)
             for sections, key in ((yolos, "classes"), (heads, "filters"))]  # fmt: skip
    filters = len(made.levels[0].yolo.anchors) * (5 + num_classes)
    raise InputError(
        f"{yolos[0].file}: expected the {num_classes} classes of the data or of names=, got {found}; write "
        f"classes={num_classes} at line {lines[0]} and filters={filters} at line {lines[1]} of a copy; the same "
        "weights fill its other layers"
    )
