"""What the detectors of the YOLO family share: anchors, losses, decoding, suppression.

A detector here has three verbs: `net(images)` gives raw maps in train and eval mode alike, `net.losses(raw, targets)`
the loss terms, `net.detections(raw)` the boxes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.yolo.anchors import check_earlier, settle
from hydra_det.modules.yolo.decode import decode, suppress
from hydra_det.modules.yolo.disagreement import yolo_disagreement
from hydra_det.modules.yolo.loss import LossSettings, assigned_logits, assigned_margins, yolo_losses
from hydra_det.types import Candidates, Detections, InputError, LossTerms, Target

Anchors = Sequence[Sequence[float]]

# Share of cells that hold an object before training: without this prior the first steps only unlearn background
# (Lin et al. 2017, arXiv 1708.02002, section 4.1).
OBJECT_PRIOR = 0.01


class SplitAnchors(nn.Module):
    """The end of every head: the channels of a map as anchors and their values.

    Args:
        anchors: A, of one level.
    """

    def __init__(self, anchors: int) -> None:
        super().__init__()
        self.anchors = anchors

    def forward(self, maps: Tensor) -> Tensor:
        """[B, A * (5 + C), H, W] -> [B, A, H, W, 5 + C]"""
        batch, _, height, width = maps.shape
        return maps.view(batch, self.anchors, -1, height, width).permute(0, 1, 3, 4, 2)


class YoloDetector(nn.Module):
    """What the YOLO family shares: anchors, losses and detections. Subclasses give `forward`.

    Args:
        num_classes: C.
        anchors: of all levels, those of the finest one first; one may stand on several levels.
        strides: of the raw maps, coarsest first.
        scales: how far the centres of each level reach, see `decode_boxes`; None: no further than their cells.
        loss: weights and choices of the loss.
        nms: how detections are selected.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        anchors: Anchors,
        strides: Sequence[int],
        scales: Sequence[float] | None = None,
        loss: LossSettings | None = None,
        nms: NmsSettings | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"model.num_classes: expected at least 1, got {num_classes}")
        if not anchors or len(anchors) % len(strides):
            raise InputError(f"model.anchors: expected a multiple of {len(strides)} pairs, got {len(anchors)}")
        self.num_classes = num_classes
        self.strides = list(strides)
        self.scales = [1.0] * len(self.strides) if scales is None else [float(scale) for scale in scales]
        if len(self.scales) != len(self.strides):
            raise ValueError(f"expected a scale for each of {len(self.strides)} levels, got {len(self.scales)}")
        self.loss_settings = loss or LossSettings()
        self.nms_settings = nms or NmsSettings()
        per_level = len(anchors) // len(strides)
        levels = torch.tensor([[float(side) for side in anchor] for anchor in anchors]).view(len(strides), per_level, 2)
        # Not a part of the state dict: the architecture says them.
        self.register_buffer("anchors", levels.flip(0), persistent=False)  # [levels, A, 2], coarsest first
        self.split = SplitAnchors(per_level)

    anchors: Tensor
    DARKNET_ORDER: ClassVar[tuple[str, ...]]  # the parts with weights, in the order of Darknet's .cfg file

    @classmethod
    def settled(cls, settings: Mapping[str, Any], *, train_boxes: Callable[[], Tensor] | None) -> dict[str, Any]:
        """Its settings with the anchors that `auto` means; see `anchors.settle`."""
        return settle(settings, count=getattr(cls, "ANCHOR_COUNT", None), train_boxes=train_boxes)

    check_earlier = staticmethod(check_earlier)

    @property
    def anchor_list(self) -> list[list[float]]:
        """The anchors of all levels, those of the finest one first, as they are given to the constructor."""
        return self.anchors.flip(0).reshape(-1, 2).tolist()

    def settings(self) -> dict[str, Any]:
        """What a network of the family is made of beside its layers: plain values, for `from_settings` of a graph."""
        return {
            "num_classes": self.num_classes,
            "anchors": self.anchor_list,
            "strides": list(self.strides),
            "scales": list(self.scales),
            "loss": dataclasses.asdict(self.loss_settings),
            "nms": dataclasses.asdict(self.nms_settings),
        }

    def identity(self) -> dict[str, Any]:
        """What a config may leave to a file, as it is: plain values."""
        return {"anchors": self.anchor_list}

    def meaning(self) -> dict[str, Any]:
        """What a program without us has to know to read the raw maps; plain values."""
        return {
            "strides": list(self.strides),
            "scales": list(self.scales),
            "anchors": self.anchor_list,
            "confidence": "sigmoid(objectness) * sigmoid(class)",
        }

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Loss terms, one value per image. Raw maps of B images, B targets -> [B] each"""
        return yolo_losses(raw, targets, **self._levels(), settings=self.loss_settings)

    def evidence(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """Objectness plus true-class logit, summed over the anchors assigned to objects. -> [B]"""
        share = self.loss_settings.anchor_iou
        return assigned_logits(raw, targets, anchors=list(self.anchors), strides=self.strides, anchor_iou=share)

    def margins(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """By how much the objects of every image are found, 0 where none is; see `assigned_margins`. -> [B]"""
        share = self.loss_settings.anchor_iou
        return assigned_margins(raw, targets, anchors=list(self.anchors), strides=self.strides, anchor_iou=share)

    def disagreement(self, raw: Sequence[Tensor], other: Sequence[Tensor]) -> LossTerms:
        """What a second answer about the same images loses against a first one; see `yolo_disagreement`. [B] each"""
        return yolo_disagreement(raw, other, **self._levels(), settings=self.loss_settings)

    def objectness(self, raw: Sequence[Tensor]) -> Tensor:
        """The objectness logit of every anchor of every cell. -> [B, N]"""
        return torch.cat([level[..., 4].flatten(1) for level in raw], dim=1)

    def decode(self, raw: Sequence[Tensor]) -> Candidates:
        """Every box with its confidence per class, before suppression."""
        return decode(raw, **self._levels())

    def suppress(
        self, candidates: Candidates, image_size: tuple[int, int], *, confidence: float | None = None
    ) -> list[Detections]:
        """Class-wise non-maximum suppression by `self.nms_settings`.

        Args:
            candidates: of a batch.
            image_size: (height, width) of the input in pixels.
            confidence: the least one that counts; None: that of the settings, by which AP is measured.
        """
        nms = self.nms_settings
        return suppress(
            candidates,
            image_size=image_size,
            confidence=nms.confidence if confidence is None else confidence,
            iou=nms.iou,
            max_detections=nms.max_detections,
            max_candidates=nms.max_candidates,
        )

    def count_candidates(self, candidates: Candidates, *, confidence: float | None = None) -> int:
        """Number of (box, class) pairs of a batch that `suppress` compares."""
        floor = self.nms_settings.confidence if confidence is None else confidence
        reached = (candidates.confidences >= floor).flatten(1).sum(1)  # [B]
        return int(reached.clamp(max=self.nms_settings.max_candidates).sum())

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """The boxes of every image, the most certain first."""
        height, width = (side * self.strides[0] for side in raw[0].shape[2:4])
        return self.suppress(self.decode(raw), (height, width))

    def _levels(self) -> dict[str, Any]:
        """What the raw maps mean, level by level."""
        return {"anchors": list(self.anchors), "strides": self.strides, "scales": self.scales}

    def _head(self, inputs: int) -> nn.Conv2d:
        """The 1x1 convolution that writes a raw map."""
        return self._at_prior(nn.Conv2d(inputs, self.anchors.shape[1] * (5 + self.num_classes), 1))

    def _at_prior(self, head: nn.Conv2d) -> nn.Conv2d:
        """The convolution that writes a raw map, changed in place: untrained it sees hardly an object anywhere."""
        assert head.bias is not None
        with torch.no_grad():
            head.weight.mul_(0.1)  # start near the prior whatever the image
            bias = head.bias.zero_().view(self.anchors.shape[1], -1)
            bias[:, 4] = math.log(OBJECT_PRIOR / (1 - OBJECT_PRIOR))
            bias[:, 5:] = -math.log(max(1, self.num_classes - 1))  # every class as likely as the others
        return head
