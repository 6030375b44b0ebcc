"""Small networks in Darknet's text, with everything that is supported between them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hydra_det.modules.darknet.network import DarknetDetector

CLASSES = 2


def section(name: str, /, **values: object) -> str:
    """`[name]` and its options; `from_` stands for `from`."""
    return "\n".join([f"[{name}]", *(f"{key.rstrip('_')}={value}" for key, value in values.items()), "", ""])


def conv(filters: int, size: int = 1, **values: object) -> str:
    """A convolution with BatchNorm."""
    given = {"batch_normalize": 1, "stride": 1, "pad": 1, "activation": "leaky", **values}
    return section("convolutional", filters=filters, size=size, **given)


def depthwise(filters: int, size: int = 3, **values: object) -> str:
    """A convolution of every channel for itself."""
    return conv(filters, size, groups=filters, **values)


def head(mask: str, *, classes: int = CLASSES, **values: object) -> str:
    """The last convolution of a level, and its [yolo]."""
    anchors = "6,8, 11,5, 20,30, 40,25, 30,60, 62,50"
    filters = (mask.count(",") + 1) * (5 + classes)
    return section("convolutional", filters=filters, size=1, stride=1, pad=1, activation="linear") + section(
        "yolo", mask=mask, anchors=anchors, classes=classes, num=6, **values
    )


NET = section("net", batch=64, width=64, height=64, channels=3, learning_rate=0.001)

# Inverted bottlenecks with residual sums, as in MobileNet: depthwise convolutions between 1x1 ones.
DEPTHWISE = "".join([
    NET,
    conv(32, 3, stride=2),  # 0
    conv(64), depthwise(64), conv(32, activation="linear"), section("dropout", probability=0.2),  # 1 2 3 4
    section("shortcut", from_=-5, activation="linear"),  # 5: with 0
    conv(96), depthwise(96, 5, stride=2, activation="relu"), conv(48, activation="linear"),  # 6 7 8
    conv(96), depthwise(96), conv(48, activation="linear"),  # 9 10 11
    section("shortcut", from_=-4, activation="linear"),  # 12: with 8
    conv(128), depthwise(128, stride=2), conv(64),  # 13 14 15
    depthwise(64, stride=2), conv(96), depthwise(96, stride=2), conv(32),  # 16 17 18 19
    head("3,4,5", scale_x_y=1.1),  # 20 21
    section("route", layers="-3"), conv(64), section("upsample", stride=2),  # 22 23 24
    section("route", layers="-1,17"), depthwise(160), conv(32),  # 25 26 27
    head("1,2,3", scale_x_y=1.05),  # 28 29
])  # fmt: skip

# Everything else: parts of a map, pooling of all kinds, other activations, groups of several channels, biases inside.
VARIED = "".join([
    NET,
    conv(32, 3, stride=2, activation="mish"), conv(64, 3, stride=2, activation="swish"),  # 0 1
    section("route", layers="-1", groups=2, group_id=1), conv(32, 3, activation="mish"),  # 2 3
    section("route", layers="-1,1"), conv(64, 1, activation="relu"),  # 4 5
    section("maxpool", size=2, stride=2), conv(64, 3, groups=32, activation="swish"),  # 6 7
    section("maxpool", size=3, stride=2), conv(96, 3, groups=32, batch_normalize=0, activation="leaky"),  # 8 9
    section("maxpool", size=2, stride=1), conv(64, 3, stride=2, activation="logistic"),  # 10 11
    section("maxpool", size=5, stride=1), section("route", layers="-2"), section("maxpool", size=3, stride=1),  # 12-14
    section("route", layers="-1,-3,-4"), conv(64, 1, batch_normalize=0), conv(64, 3, activation="linear"),  # 15 16 17
    section("shortcut", from_="-2", activation="leaky"),  # 18
    head("3,4,5"),  # 19 20
    section("route", layers="-3,16", groups=4, group_id=2), conv(32), section("upsample", stride=2),  # 21 22 23
    section("route", layers="-1,9"), conv(64, 3),  # 24 25
    head("0,1,2"),  # 26 27
])  # fmt: skip

CFGS = {"depthwise": DEPTHWISE, "varied": VARIED}


def darknet(name: str, *, seed: int = 0) -> Any:
    """A seeded network in eval mode whose BatchNorm has seen images, so that its signal neither dies nor explodes."""
    torch.manual_seed(seed)
    net = DarknetDetector(cfg=CFGS[name], num_classes=CLASSES)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.1)
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.weight.normal_(std=module.weight[0].numel() ** -0.5)
                module.bias.normal_(std=0.5)
        net.train()(torch.rand(4, 3, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def written(name: str, folder: Path) -> Path:
    """The text of a network as a file."""
    path = folder / f"{name}.cfg"
    path.write_text(CFGS[name])
    return path
