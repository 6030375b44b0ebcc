"""Darknet's `.weights` files: a header, then float32 values, layer by layer in the order of the .cfg file.

The header is three int32 (major, minor, revision) and the number of images seen in training, an int64 since version 0.2
and an int32 before (pjreddie.com/darknet; parser.c, `load_weights_upto`). A convolution with BatchNorm is stored as
bias, scale, mean, variance, weight; one without as bias, weight. Nothing in the file says how many layers or classes
there are, so its size is the only check, and it is checked to the byte.

A backbone, `darknet53.conv.74`, is the same with the first layers only, as many as its name ends with.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_det.files.atomic import write_atomically
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.modules.darknet.assembly import Stored
from hydra_det.modules.yolo.backbones import ConvBlock
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.types import InputError

log = logging.getLogger(__name__)

VERSION = (0, 2, 5)  # of the official files
FLOAT = np.dtype("<f4")
NEW_HEADER, OLD_HEADER = 20, 16  # bytes
BACKBONE = re.compile(r".+\.conv\.(\d{1,4})")

Values = NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]  # key in the state dict -> shape, in Darknet's order


def is_darknet(path: Path) -> bool:
    """Whether a file is Darknet's, by its name."""
    return path.suffix == ".weights" or BACKBONE.fullmatch(path.name) is not None


def load_darknet_weights(network: nn.Module, path: Path) -> list[str]:
    """Fill a network from a `.weights` file; the network is not touched when the file does not fit.

    A file of another number of classes fits too: everything but the last convolution of each level is taken. So does a
    backbone, which fills the first layers.

    Returns:
        The names of the tensors that were left out; empty if the file fills the network.
    """
    detector = _of_the_family(network, path)
    values = _read(path)
    layers = _layers(detector)
    backbone = BACKBONE.fullmatch(path.name)
    if backbone:
        known = _first_layers(layers, values.size, int(backbone[1]), detector, path)
        why = f"fills the first {len(known)} of {len(layers)} convolutions"
    else:
        classes = _count_classes(values, layers, detector, path)
        known = layers if classes == detector.num_classes else [layer for layer in layers if not layer.head]
        why = f"has {classes} classes, the network {detector.num_classes}"
    found: dict[str, Tensor] = {}
    left_out: list[str] = []
    start = 0
    for layer in layers:
        for key, shape in _tensors(layer, detector).items():
            if layer in known:
                count = int(np.prod(shape))
                found[key] = torch.from_numpy(values[start : start + count].astype(np.float32)).view(shape)
            else:
                left_out.append(key)
                count = 0 if backbone else _head_rows(detector, classes) * int(np.prod(shape[1:]))
            start += count
    assert start == values.size, "the size of the file was checked"
    for key, tensor in found.items():
        if not tensor.isfinite().all() or (key.endswith("running_var") and (tensor < 0).any()):
            kind = "variances of at least 0" if key.endswith("running_var") else "finite weights"
            raise InputError(f"{path}: expected {kind}, found others in {key}; is it damaged, or of another network?")
    detector.load_state_dict(found, strict=False)
    if left_out:
        log.warning("%s: %s; left out: %s", path, why, ", ".join(left_out))
    return left_out


def save_darknet_weights(network: nn.Module, path: Path, *, seen: int = 0) -> None:
    """Write a dense network as a `.weights` file of version 0.2.5.

    Args:
        network: dense; of a masked one `make_dense` gives that.
        path: of the file, written whole or not at all.
        seen: images that it was trained on, for Darknet's schedule.
    """
    network = _of_the_family(network, path)
    state = network.state_dict()
    if any(name.endswith(".mask") for name in state):
        raise InputError(f"{path}: expected a dense network, got a masked one; make it dense first")
    header = np.array(VERSION, dtype="<i4").tobytes() + np.array([seen], dtype="<i8").tobytes()
    parts = [
        state[key].detach().cpu().float().contiguous().numpy().astype(FLOAT).tobytes()
        for layer in _layers(network)
        for key in _tensors(layer, network)
    ]
    write_atomically(path, header + b"".join(parts))


def _of_the_family(network: nn.Module, path: Path) -> YoloDetector:
    if not isinstance(network, YoloDetector) or not (hasattr(network, "stored") or hasattr(network, "DARKNET_ORDER")):
        raise InputError(f"{path}: expected a network of the YOLO family, got {type(network).__name__}")
    return network


def _layers(network: YoloDetector) -> list[Stored]:
    """Every layer with weights, in the order of the file."""
    stored: list[Stored] | None = getattr(network, "stored", None)  # one from a .cfg knows its own
    return stored or [
        Stored(f"{name}.conv", f"{name}.norm", False, None, name)
        if isinstance(module, ConvBlock)
        else Stored(name, None, True, None, name)
        for part in network.DARKNET_ORDER
        for name, module in network.get_submodule(part).named_modules(prefix=part)
        # A block holds its convolution, which has no bias; the last one of a level stands alone and has one.
        if isinstance(module, ConvBlock) or (isinstance(module, nn.Conv2d) and module.bias is not None)
    ]


def _read(path: Path) -> Values:
    """The values behind the header."""
    if not path.is_file():
        raise InputError(f"{path}: expected a Darknet .weights file, found none; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        if is_of_machine(error):
            raise
        raise InputError(f"{path}: expected a Darknet .weights file, could not read it ({error.strerror})") from error
    if len(content) < NEW_HEADER:
        raise InputError(f"{path}: expected a header of {NEW_HEADER} bytes, found {len(content)}; is it truncated?")
    major, minor, revision = (int(value) for value in np.frombuffer(content, dtype="<i4", count=3))
    if not (major == 0 and 0 <= minor < 10 and 0 <= revision < 100):
        raise InputError(
            f"{path}: expected the header of a Darknet file of version 0.x, found {major}.{minor}.{revision}; is it a "
            "file of another program?"
        )
    body = content[NEW_HEADER if (major, minor) >= (0, 2) else OLD_HEADER :]
    if len(body) % FLOAT.itemsize:
        raise InputError(f"{path}: expected whole float32 values, found {len(body)} bytes of them; is it truncated?")
    return np.frombuffer(body, dtype=FLOAT)


def _count_classes(values: Values, layers: Sequence[Stored], network: YoloDetector, path: Path) -> int:
    """The number of classes that explains the values; refuses a size that none explains."""
    fixed, per_row = 0, 0
    for layer in layers:
        shapes = _tensors(layer, network)
        if layer.head:
            per_row += sum(int(np.prod(shape[1:])) for shape in shapes.values())
        else:
            fixed += _size(shapes)
    rows, rest = divmod(values.size - fixed, per_row)
    classes, odd = divmod(rows, network.anchors.shape[1])
    classes -= 5
    if rest or odd or classes < 1:
        expected = fixed + per_row * _head_rows(network, network.num_classes)
        raise InputError(
            f"{path}: expected {expected:,} values for {type(network).__name__} with {network.num_classes} classes, "
            f"found {values.size:,}, which no number of classes explains; is it truncated, or of another network? "
            + _first_misfit(values, layers, network)
        )
    return classes


def _first_misfit(values: Values, layers: Sequence[Stored], network: YoloDetector) -> str:
    """The first layer for which the file cannot be: its variances are none, or there is nothing left for it."""
    start = 0
    for layer in layers:
        for key, shape in _tensors(layer, network).items():
            count = int(np.prod(shape))
            part = values[start : start + count]
            start += count
            if start > values.size:
                return f"The first layer that it does not fill is {layer.said}"
            if key.endswith("running_var") and not (np.isfinite(part).all() and (part >= 0).all()):
                return f"The first layer that cannot be is {layer.said}: some of its variances are below 0"
    return f"It fills all layers, and {values.size - start:,} values are left over"


def _first_layers(layers: Sequence[Stored], size: int, number: int, network: YoloDetector, path: Path) -> list[Stored]:
    """The layers that a backbone fills: those before the layer that its name says, and exactly they."""
    ends = np.cumsum([_size(_tensors(layer, network)) for layer in layers])
    count = int(np.searchsorted(ends, size)) + 1
    meant = [layer for layer in layers if layer.number is not None and layer.number < number]
    if count <= len(layers) and ends[count - 1] == size and (layers[0].number is None or len(meant) == count):
        return list(layers[:count])
    if meant:
        expected = int(ends[len(meant) - 1])
        about = f"expected {expected:,} values for the {len(meant)} convolutions of its first {number} layers"
    else:
        about = "expected the values of whole layers"
    nearest = layers[min(count, len(layers)) - 1]
    raise InputError(
        f"{path}: {about}, found {size:,}; is it truncated, or the backbone of another network? The first layer that "
        f"it does not fill is {nearest.said}"
    )


def _head_rows(network: YoloDetector, classes: int) -> int:
    return network.anchors.shape[1] * (5 + classes)


def _size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _tensors(layer: Stored, network: nn.Module) -> Shapes:
    """Every tensor of a layer."""
    conv: Any = network.get_submodule(layer.conv)
    channels = (conv.out_channels,)
    of_norm = ("bias", "weight", "running_mean", "running_var") if layer.norm else ()
    first = {f"{layer.norm}.{key}": channels for key in of_norm} or {f"{layer.conv}.bias": channels}
    return {**first, f"{layer.conv}.weight": tuple(conv.weight.shape)}
