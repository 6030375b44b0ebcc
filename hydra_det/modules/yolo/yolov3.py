"""YOLOv3, YOLOv3-tiny and YOLOv3-SPP (Redmon & Farhadi 2018, arXiv 1804.02767; Darknet's .cfg files).

80 classes: 61,949,149 parameters in YOLOv3, 8,852,366 in tiny,
62,998,749 with SPP.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.yolo.backbones import ConvBlock, Darknet53, TinyBackbone, scaled_channels
from hydra_det.modules.yolo.base import Anchors, YoloDetector
from hydra_det.modules.yolo.loss import LossSettings

# k-means on COCO at 416 px, from the paper; width and height in pixels of the network input.
COCO_ANCHORS: Anchors = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip
# Those of masks 1,2,3 and 3,4,5 of yolov3-tiny.cfg. The published file says 0,1,2 for the fine level, and its weights
# then score half of their AP (AlexeyAB/darknet, issue 1341).
COCO_TINY_ANCHORS: Anchors = ((23, 27), (37, 58), (81, 82), (81, 82), (135, 169), (344, 319))


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
        anchors: 3 per level, those of the finest one first, (width, height) in pixels of the network input.
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
            raw.append(self.split(self.heads[level](self.outs[level](necked))))
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
        return [self.split(maps) for maps in heads]
