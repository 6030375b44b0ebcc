"""Darknet's `.weights` files: a header, then float32 values, layer by layer in the order of the .cfg file.

The header is three int32 (major, minor, revision) and the number of images seen in training, an int64 since version 0.2
and an int32 before (pjreddie.com/darknet; parser.c, `load_weights_upto`). A convolution with BatchNorm is stored as
bias, scale, mean, variance, weight; one without as bias, weight. Nothing in the file says how many layers or classes
there are, so its size is the only check, and it is checked to the byte.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_det.files.atomic import write_atomically
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.modules.yolo.backbones import ConvBlock
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.types import InputError

log = logging.getLogger(__name__)

VERSION = (0, 2, 5)  # of the official files
FLOAT = np.dtype("<f4")
NEW_HEADER, OLD_HEADER = 20, 16  # bytes


def load_darknet_weights(network: nn.Module, path: Path) -> list[str]:
    """Fill a network from a `.weights` file; the network is not touched when the file does not fit.

    A file of another number of classes fits too: everything but the last convolution of each level is taken.

    Returns:
        The names of the tensors that were left out; empty if the file has as many classes as the network.
    """
    network = _of_the_family(network, path)
    values = _read(path)
    layers = _layers(network)
    classes = _count_classes(values.size, network, path)
    found: dict[str, Tensor] = {}
    left_out: list[str] = []
    start = 0
    for name, layer in layers:
        other = isinstance(layer, nn.Conv2d) and classes != network.num_classes
        for key, shape in _tensors(name, layer):
            rows = _head_rows(network, classes) if other else shape[0]
            count = rows * int(np.prod(shape[1:]))
            if other:
                left_out.append(key)
            else:
                found[key] = torch.from_numpy(values[start : start + count].astype(np.float32)).view(shape)
            start += count
    assert start == values.size, "the size of the file was checked"
    for key, tensor in found.items():
        if not tensor.isfinite().all() or (key.endswith("running_var") and (tensor < 0).any()):
            kind = "variances of at least 0" if key.endswith("running_var") else "finite weights"
            raise InputError(f"{path}: expected {kind}, found others in {key}; is it damaged, or of another network?")
    network.load_state_dict(found, strict=False)
    if left_out:
        log.warning(
            "%s: has %d classes, the network %d; left out: %s", path, classes, network.num_classes, ", ".join(left_out)
        )
    return left_out


def save_darknet_weights(network: nn.Module, path: Path, *, seen: int = 0) -> None:
    """Write a dense network as a `.weights` file of version 0.2.5.

    Args:
        network: dense; a masked one is made dense first.
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
        for name, layer in _layers(network)
        for key, _ in _tensors(name, layer)
    ]
    write_atomically(path, header + b"".join(parts))


def _of_the_family(network: nn.Module, path: Path) -> YoloDetector:
    if not isinstance(network, YoloDetector):
        raise InputError(f"{path}: expected a network of the YOLO family, got {type(network).__name__}")
    return network


def _layers(network: YoloDetector) -> list[tuple[str, ConvBlock | nn.Conv2d]]:
    """Every layer with weights, in the order of the file."""
    return [
        (name, module)
        for part in network.DARKNET_ORDER
        for name, module in network.get_submodule(part).named_modules(prefix=part)
        # A block holds its convolution, which has no bias; the last one of a level stands alone and has one.
        if isinstance(module, ConvBlock) or (isinstance(module, nn.Conv2d) and module.bias is not None)
    ]


def _read(path: Path) -> NDArray[np.float32]:
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


def _count_classes(size: int, network: YoloDetector, path: Path) -> int:
    """The number of classes that explains `size` values; refuses a size that none explains."""
    fixed, per_row = 0, 0
    for _, layer in _layers(network):
        if isinstance(layer, nn.Conv2d):
            per_row += layer.weight[0].numel() + 1
        else:
            fixed += sum(int(np.prod(shape)) for _, shape in _tensors("", layer))
    rows, rest = divmod(size - fixed, per_row)
    classes, odd = divmod(rows, network.anchors.shape[1])
    classes -= 5
    if rest or odd or classes < 1:
        expected = fixed + per_row * _head_rows(network, network.num_classes)
        raise InputError(
            f"{path}: expected {expected:,} values for {type(network).__name__} with {network.num_classes} classes, "
            f"found {size:,}, which no number of classes explains; is it truncated, or of another network?"
        )
    return classes


def _head_rows(network: YoloDetector, classes: int) -> int:
    return network.anchors.shape[1] * (5 + classes)


def _tensors(name: str, layer: ConvBlock | nn.Conv2d) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Key in the state dict and shape of every tensor of a layer, in Darknet's order."""
    if isinstance(layer, nn.Conv2d):
        assert layer.bias is not None
        yield f"{name}.bias", tuple(layer.bias.shape)
        yield f"{name}.weight", tuple(layer.weight.shape)
        return
    channels = (layer.conv.out_channels,)
    for key in ("bias", "weight", "running_mean", "running_var"):
        yield f"{name}.norm.{key}", channels
    yield f"{name}.conv.weight", tuple(layer.conv.weight.shape)
