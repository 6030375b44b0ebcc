"""Darknet's description of the YOLOv3 family, written from the layer tables of the papers, for another reader."""

from collections.abc import Sequence

ANCHORS = {
    "yolov3": "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326",
    "yolov3_spp": "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326",
    "yolov3_tiny": "10,14, 23,27, 37,58, 81,82, 135,169, 344,319",
}


def conv(filters: int, size: int, stride: int = 1) -> str:
    return _section(
        "convolutional", batch_normalize=1, filters=filters, size=size, stride=stride, pad=1, activation="leaky"
    )


def head(mask: str, *, anchors: str, classes: int) -> str:
    """The last convolution of a level and its boxes; `thresh` keeps every box."""
    filters = 3 * (5 + classes)
    return _section("convolutional", filters=filters, size=1, stride=1, pad=1, activation="linear") + _section(
        "yolo", mask=mask, anchors=anchors, classes=classes, num=anchors.count(",") // 2 + 1, thresh=0, nms_threshold=0
    )


def route(*layers: int) -> str:
    return _section("route", layers=",".join(str(layer) for layer in layers))


def yolov3(*, size: int, classes: int, pyramid: bool = False) -> str:
    """107 layers: Darknet-53 and three levels. A pyramid puts seven more into the first level."""
    parts = [_net(size), conv(32, 3)]
    for channels, units in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        parts.append(conv(channels, 3, 2))
        for _ in range(units):
            parts += [
                conv(channels // 2, 1),
                conv(channels, 3),
                _section("shortcut", **{"from": -3}, activation="linear"),
            ]
    for level, channels in enumerate((512, 256, 128)):
        if level:
            parts += [route(-4), conv(channels, 1), _section("upsample", stride=2), route(-1, (61, 36)[level - 1])]
        pair = [conv(channels, 1), conv(2 * channels, 3)]
        if pyramid and not level:
            parts += [*pair, conv(channels, 1), _pool(5), route(-2), _pool(9), route(-4), _pool(13)]
            parts += [route(-1, -3, -5, -6), *pair * 2]
        else:
            parts += pair * 3
        parts.append(head(("6,7,8", "3,4,5", "0,1,2")[level], anchors=ANCHORS["yolov3"], classes=classes))
    return "".join(parts)


def yolov3_tiny(*, size: int, classes: int) -> str:
    """24 layers: seven convolutions with max pooling, and two levels."""
    parts = [_net(size)]
    for channels, stride in ((16, 2), (32, 2), (64, 2), (128, 2), (256, 2), (512, 1)):
        parts += [conv(channels, 3), _section("maxpool", size=2, stride=stride)]
    parts += [conv(1024, 3), conv(256, 1), conv(512, 3)]
    parts.append(head("3,4,5", anchors=ANCHORS["yolov3_tiny"], classes=classes))
    parts += [route(-4), conv(128, 1), _section("upsample", stride=2), route(-1, 8), conv(256, 3)]
    parts.append(head("1,2,3", anchors=ANCHORS["yolov3_tiny"], classes=classes))
    return "".join(parts)


def yolov3_spp(*, size: int, classes: int) -> str:
    """114 layers."""
    return yolov3(size=size, classes=classes, pyramid=True)


CFGS = {"yolov3": yolov3, "yolov3_tiny": yolov3_tiny, "yolov3_spp": yolov3_spp}


def _pool(size: int) -> str:
    return _section("maxpool", size=size, stride=1)


def _net(size: int) -> str:
    return _section("net", width=size, height=size, channels=3)


def _section(section: str, /, **values: int | str | Sequence[int]) -> str:
    return "\n".join([f"[{section}]", *(f"{key}={value}" for key, value in values.items()), "", ""])
