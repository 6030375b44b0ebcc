"""YOLOv3, YOLOv3-tiny and YOLOv3-SPP (Redmon & Farhadi 2018, arXiv 1804.02767; Darknet's .cfg files).

A detector here has three verbs: `net(images)` gives raw maps in train and eval mode alike, `net.losses(raw, targets)`
the loss terms, `net.detections(raw)` the boxes. 80 classes: 61,949,149 parameters in YOLOv3, 8,852,366 in tiny,
62,998,749 with SPP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hydra_det.modules.darknet import ConvBlock, Darknet53, TinyBackbone, scaled_channels
from hydra_det.modules.decode import Candidates, decode, suppress
from hydra_det.modules.loss import LossSettings, assigned_logits, yolo_losses
from hydra_det.types import Detections, InputError, LossTerms, Target

Anchors = Sequence[Sequence[float]]

# k-means on COCO at 416 px, from the paper; width and height in pixels of the network input.
COCO_ANCHORS: Anchors = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip
# From Darknet's yolov3-tiny.cfg.
COCO_TINY_ANCHORS: Anchors = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
# Share of cells that hold an object before training: without this prior the first steps only unlearn background
# (Lin et al. 2017, arXiv 1708.02002, section 4.1).
OBJECT_PRIOR = 0.01


@dataclass(frozen=True, kw_only=True)
class NmsSettings:
    """Arguments of `suppress`, as COCO's evaluation needs them: what is lost here is lost to every threshold."""

    confidence: float = 0.001
    iou: float = 0.6
    max_detections: int = 100
    max_candidates: int = 3000

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 0.001:
            raise InputError(f"model.nms.confidence: expected a floor in [0, 0.001] as for COCO, got {self.confidence}")
        if not 0 < self.iou <= 1:
            raise InputError(f"model.nms.iou: expected an overlap in (0, 1], got {self.iou}")
        if not 100 <= self.max_detections <= self.max_candidates:
            raise InputError(
                "model.nms.max_detections: expected at least 100 as for COCO and at most max_candidates "
                f"({self.max_candidates}), got {self.max_detections}"
            )


class YoloDetector(nn.Module):
    """What the YOLO family shares: anchors, losses and detections. Subclasses give `forward`.

    Args:
        num_classes: C.
        anchors: all anchors, smallest first; the finest level takes the first ones.
        strides: of the raw maps, coarsest first.
        loss: weights and choices of the loss.
        nms: how detections are selected.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        anchors: Anchors,
        strides: Sequence[int],
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
        self.loss_settings = loss or LossSettings()
        self.nms_settings = nms or NmsSettings()
        per_level = len(anchors) // len(strides)
        levels = torch.tensor([[float(side) for side in anchor] for anchor in anchors]).view(len(strides), per_level, 2)
        # Not a part of the state dict: the architecture says them.
        self.register_buffer("anchors", levels.flip(0), persistent=False)  # [levels, A, 2], coarsest first

    anchors: Tensor
    DARKNET_ORDER: ClassVar[tuple[str, ...]]  # the parts with weights, in the order of Darknet's .cfg file

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Loss terms, one value per image. Raw maps of B images, B targets -> [B] each"""
        anchors = list(self.anchors)
        return yolo_losses(raw, targets, anchors=anchors, strides=self.strides, settings=self.loss_settings)

    def evidence(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """Objectness plus true-class logit, summed over the anchors assigned to objects. -> [B]"""
        share = self.loss_settings.anchor_iou
        return assigned_logits(raw, targets, anchors=list(self.anchors), strides=self.strides, anchor_iou=share)

    def objectness(self, raw: Sequence[Tensor]) -> Tensor:
        """The objectness logit of every anchor of every cell. -> [B, N]"""
        return torch.cat([level[..., 4].flatten(1) for level in raw], dim=1)

    def decode(self, raw: Sequence[Tensor]) -> Candidates:
        """Every box with its confidence per class, before suppression."""
        return decode(raw, list(self.anchors), self.strides)

    def suppress(self, candidates: Candidates, image_size: tuple[int, int]) -> list[Detections]:
        """Class-wise non-maximum suppression by `self.nms_settings`; `image_size` is (height, width) of the input."""
        nms = self.nms_settings
        return suppress(
            candidates,
            image_size=image_size,
            confidence=nms.confidence,
            iou=nms.iou,
            max_detections=nms.max_detections,
            max_candidates=nms.max_candidates,
        )

    def count_candidates(self, candidates: Candidates) -> int:
        """Number of (box, class) pairs of a batch that `suppress` compares."""
        reached = (candidates.confidences >= self.nms_settings.confidence).flatten(1).sum(1)  # [B]
        return int(reached.clamp(max=self.nms_settings.max_candidates).sum())

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """The boxes of every image, the most certain first."""
        height, width = (side * self.strides[0] for side in raw[0].shape[2:4])
        return self.suppress(self.decode(raw), (height, width))

    def _head(self, inputs: int) -> nn.Conv2d:
        """The 1x1 convolution that writes a raw map."""
        head = nn.Conv2d(inputs, self.anchors.shape[1] * (5 + self.num_classes), 1)
        assert head.bias is not None
        with torch.no_grad():
            head.weight.mul_(0.1)  # start near the prior whatever the image
            bias = head.bias.zero_().view(self.anchors.shape[1], -1)
            bias[:, 4] = math.log(OBJECT_PRIOR / (1 - OBJECT_PRIOR))
            bias[:, 5:] = -math.log(max(1, self.num_classes - 1))  # every class as likely as the others
        return head

    def _split_anchors(self, maps: Tensor) -> Tensor:
        """[B, A * (5 + C), H, W] -> [B, A, H, W, 5 + C]"""
        batch, _, height, width = maps.shape
        return maps.view(batch, self.anchors.shape[1], -1, height, width).permute(0, 1, 3, 4, 2)


class Neck(nn.Sequential):
    """Five convolutions that alternate between 1x1 (`channels`) and 3x3 (twice as many)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(
            ConvBlock(inputs, channels, 1),
            ConvBlock(channels, 2 * channels, 3),
            ConvBlock(2 * channels, channels, 1),
            ConvBlock(channels, 2 * channels, 3),
            ConvBlock(2 * channels, channels, 1),
        )


class SpatialPyramid(nn.Module):
    """A map beside its own maxima over 13, 9 and 5 cells (He et al. 2014, arXiv 1406.4729): four times the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in (13, 9, 5))

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 4 * C, H, W]"""
        return torch.cat([*(pool(features) for pool in self.pools), features], dim=1)


class PyramidNeck(nn.Sequential):
    """A `Neck` whose third convolution feeds a pyramid, and one more that takes its channels back."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(
            ConvBlock(inputs, channels, 1),
            ConvBlock(channels, 2 * channels, 3),
            ConvBlock(2 * channels, channels, 1),
            SpatialPyramid(),
            ConvBlock(4 * channels, channels, 1),
            ConvBlock(channels, 2 * channels, 3),
            ConvBlock(2 * channels, channels, 1),
        )


class Upsample(nn.Sequential):
    """A 1x1 convolution, then twice the size by nearest neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode="nearest"))


class YOLOv3(YoloDetector):
    """YOLOv3 on Darknet-53: three raw maps at strides 32, 16 and 8.

    Args:
        num_classes: C.
        width: multiplier of all channels.
        depth: multiplier of the residual units of the backbone.
        anchors: 3 per level, smallest first, (width, height) in pixels of the network input.
        loss: see `LossSettings`.
        nms: see `NmsSettings`.
    """

    ANCHOR_COUNT = 9
    COARSEST_NECK: ClassVar[type[Neck] | type[PyramidNeck]] = Neck
    DARKNET_ORDER = (
        "backbone",
        *("necks.0", "outs.0", "heads.0", "ups.0"),
        *("necks.1", "outs.1", "heads.1", "ups.1"),
        *("necks.2", "outs.2", "heads.2"),
    )

    def __init__(
        self,
        *,
        num_classes: int,
        width: float = 1.0,
        depth: float = 1.0,
        anchors: Anchors = COCO_ANCHORS,
        loss: LossSettings | None = None,
        nms: NmsSettings | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, anchors=anchors, strides=(32, 16, 8), loss=loss, nms=nms)
        self.backbone = Darknet53(width=width, depth=depth)
        self.necks, self.outs, self.heads, self.ups = (nn.ModuleList() for _ in range(4))
        from_above = 0
        for level, inputs in enumerate(reversed(self.backbone.channels)):
            channels = scaled_channels((512, 256, 128)[level], width)
            neck = Neck if level else self.COARSEST_NECK
            self.necks.append(neck(inputs + from_above, channels))
            self.outs.append(ConvBlock(channels, 2 * channels, 3))
            self.heads.append(self._head(2 * channels))
            if level < 2:
                from_above = scaled_channels((256, 128)[level], width)
                self.ups.append(Upsample(channels, from_above))

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W], sides multiples of 32 -> per level [B, 3, H/s, W/s, 5 + C], s = 32, 16, 8"""
        raw = []
        above: Tensor | None = None
        for level, features in enumerate(reversed(self.backbone(images))):
            joined = features if above is None else torch.cat([above, features], dim=1)
            necked = self.necks[level](joined)
            raw.append(self._split_anchors(self.heads[level](self.outs[level](necked))))
            if level < 2:
                above = self.ups[level](necked)
        return raw


class YOLOv3SPP(YOLOv3):
    """YOLOv3 with a spatial pyramid on its coarsest level. Arguments as in `YOLOv3`."""

    COARSEST_NECK = PyramidNeck


class YOLOv3Tiny(YoloDetector):
    """YOLOv3-tiny: two raw maps at strides 32 and 16. Arguments as in `YOLOv3`, without a depth."""

    ANCHOR_COUNT = 6
    DARKNET_ORDER = ("backbone", "neck", "out_coarse", "head_coarse", "up", "out_fine", "head_fine")

    def __init__(
        self,
        *,
        num_classes: int,
        width: float = 1.0,
        anchors: Anchors = COCO_TINY_ANCHORS,
        loss: LossSettings | None = None,
        nms: NmsSettings | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, anchors=anchors, strides=(32, 16), loss=loss, nms=nms)
        self.backbone = TinyBackbone(width=width)
        fine, coarse = self.backbone.channels
        middle, upper = scaled_channels(256, width), scaled_channels(128, width)
        self.neck = ConvBlock(coarse, middle, 1)
        self.out_coarse = ConvBlock(middle, scaled_channels(512, width), 3)
        self.head_coarse = self._head(scaled_channels(512, width))
        self.up = Upsample(middle, upper)
        self.out_fine = ConvBlock(upper + fine, scaled_channels(256, width), 3)
        self.head_fine = self._head(scaled_channels(256, width))

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W], sides multiples of 32 -> per level [B, 3, H/s, W/s, 5 + C], s = 32, 16"""
        fine, coarse = self.backbone(images)
        necked = self.neck(coarse)
        joined = torch.cat([self.up(necked), fine], dim=1)
        heads = self.head_coarse(self.out_coarse(necked)), self.head_fine(self.out_fine(joined))
        return [self._split_anchors(maps) for maps in heads]
