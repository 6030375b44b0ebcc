"""Darknet-53 and the backbone of YOLOv3-tiny (Redmon & Farhadi 2018, arXiv 1804.02767).

Read down: a convolution block, a residual unit, the two backbones. Every activation is a module of its own, used once,
so that attribution rules can be hooked to it.
"""

import torch.nn.functional as F
from torch import Tensor, nn

STAGE_CHANNELS = (64, 128, 256, 512, 1024)
STAGE_UNITS = (1, 2, 8, 8, 4)


class ConvBlock(nn.Sequential):
    """Convolution without bias, BatchNorm, LeakyReLU(0.1); keeps the size at stride 1, halves it at stride 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-6)  # Darknet's; torch's 1e-5 moves boxes by hundredths of a pixel
        self.activation = nn.LeakyReLU(0.1, inplace=True)


class ResidualUnit(nn.Module):
    """x + 3x3(1x1(x)), half the channels in between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2, 1)
        self.expand = ConvBlock(channels // 2, channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]"""
        return features + self.expand(self.reduce(features))


class Darknet53(nn.Module):
    """The backbone of YOLOv3: five stages, each halves the size.

    Args:
        width: multiplier of the channels, rounded to multiples of 8.
        depth: multiplier of the residual units of a stage, at least one stays.
    """

    def __init__(self, *, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        channels = [scaled_channels(c, width) for c in STAGE_CHANNELS]
        self.stem = ConvBlock(3, scaled_channels(32, width), 3)
        self.stages = nn.ModuleList()
        inputs = scaled_channels(32, width)
        for outputs, units in zip(channels, STAGE_UNITS, strict=True):
            residuals = [ResidualUnit(outputs) for _ in range(max(1, round(units * depth)))]
            self.stages.append(nn.Sequential(ConvBlock(inputs, outputs, 3, stride=2), *residuals))
            inputs = outputs
        self.channels = channels[2:]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features at strides 8, 16 and 32 with `self.channels` channels."""
        features, maps = self.stem(images), []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps[2:]


class TinyBackbone(nn.Module):
    """The backbone of YOLOv3-tiny: seven convolutions with max pooling between them.

    Args:
        width: multiplier of the channels, rounded to multiples of 8.
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled_channels(c, width) for c in (16, 32, 64, 128, 256, 512, 1024)]
        inputs = [3, *channels[:-1]]
        self.convs = nn.ModuleList(ConvBlock(i, o, 3) for i, o in zip(inputs, channels, strict=True))
        self.pools = nn.ModuleList(nn.MaxPool2d(2, 2) for _ in range(5))
        self.last_pool = nn.MaxPool2d(2, 1)
        self.channels = [channels[4], channels[6]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features at strides 16 and 32 with `self.channels` channels."""
        features = images
        for conv, pool in zip(self.convs[:4], self.pools[:4], strict=True):
            features = pool(conv(features))
        stride_16 = self.convs[4](features)
        features = self.convs[5](self.pools[4](stride_16))
        # Darknet pads its last pooling (size 2, stride 1) on the right and below with the lowest value.
        features = self.last_pool(F.pad(features, (0, 1, 0, 1), value=float("-inf")))
        return [stride_16, self.convs[6](features)]


def scaled_channels(channels: int, width: float) -> int:
    """`channels * width`, rounded to a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)
