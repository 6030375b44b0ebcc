"""A detector as data: a list of operations that fits into a JSON file, and the network that runs it.

A compact network has lost channels, layers and branches that the classes of the package take for granted. It is
described by what it does, so that it is rebuilt without the config or the class that it came from.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.yolo.base import Anchors, SplitAnchors, YoloDetector
from hydra_det.modules.yolo.loss import LossSettings

IMAGES = "images"  # the name of the input


class Node(NamedTuple):
    """One operation.

    Attributes:
        name: unique; that of the module where it has one, so that weights keep their names.
        operation: a key of `OPERATIONS`.
        inputs: names of nodes, or `IMAGES`.
        settings: arguments of the operation, plain values.
        shared: the module that computes it, where another node has its name; empty: the one of this name.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    settings: dict[str, Any]
    shared: str = ""

    @property
    def layer(self) -> str:
        """The name of the module that computes it."""
        return self.shared or self.name


class Graph(NamedTuple):
    """Nodes in an order in which they can be computed, and the names of the raw maps among them."""

    nodes: list[Node]
    outputs: list[str]


class Add(nn.Module):
    """The sum of two maps."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """[B, C, H, W] each -> [B, C, H, W]"""
        return left + right


class Concat(nn.Module):
    """Maps behind each other."""

    def forward(self, *maps: Tensor) -> Tensor:
        """[B, C_i, H, W] each -> [B, sum of C_i, H, W]"""
        return torch.cat(maps, dim=1)


class Slice(nn.Module):
    """Some channels of a map that lie side by side.

    Args:
        start: the first of them.
        stop: the first that is not one of them any more.
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, stop - start, H, W]"""
        return maps[:, self.start : self.stop]


class Operation(NamedTuple):
    """A class of modules and those of its arguments that are kept; every one is an attribute of the module."""

    module: type[nn.Module]
    arguments: tuple[str, ...] = ()


OPERATIONS: dict[str, Operation] = {
    "conv": Operation(
        nn.Conv2d, ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")
    ),
    "norm": Operation(nn.BatchNorm2d, ("num_features", "eps", "momentum")),
    "leaky_relu": Operation(nn.LeakyReLU, ("negative_slope", "inplace")),
    "relu": Operation(nn.ReLU, ("inplace",)),
    "relu6": Operation(nn.ReLU6, ("inplace",)),
    "hardswish": Operation(nn.Hardswish, ("inplace",)),
    "hardsigmoid": Operation(nn.Hardsigmoid, ("inplace",)),
    "mish": Operation(nn.Mish, ("inplace",)),
    "swish": Operation(nn.SiLU, ("inplace",)),
    "logistic": Operation(nn.Sigmoid),
    "max_pool": Operation(nn.MaxPool2d, ("kernel_size", "stride", "padding")),
    "upsample": Operation(nn.Upsample, ("scale_factor", "mode")),
    "pad": Operation(nn.ConstantPad2d, ("padding", "value")),
    "add": Operation(Add),
    "concat": Operation(Concat),
    "slice": Operation(Slice, ("start", "stop")),
    "raw_map": Operation(SplitAnchors, ("anchors",)),
}


class GraphDetector(YoloDetector):
    """A detector that computes a graph; losses and detections are those of the family.

    Args:
        graph: what it computes; the raw maps, coarsest first, are its outputs.
        num_classes: C.
        anchors: of all levels, those of the finest one first.
        strides: of the raw maps, coarsest first.
        scales: of the centres of each level, see `YoloDetector`.
        loss: see `LossSettings`.
        nms: see `NmsSettings`.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        num_classes: int,
        anchors: Anchors,
        strides: Sequence[int],
        scales: Sequence[float] | None = None,
        loss: LossSettings | None = None,
        nms: NmsSettings | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, anchors=anchors, strides=strides, scales=scales, loss=loss, nms=nms)
        self.graph = graph
        for node in graph.nodes:
            _place(self, node.name, OPERATIONS[node.operation].module(**node.settings))
        self._spent = _last_uses(graph)

    @classmethod
    def from_settings(cls, graph: Graph, settings: Mapping[str, Any]) -> "GraphDetector":
        """A graph with what `settings()` of a network of the family said."""
        return cls(
            graph,
            num_classes=settings["num_classes"],
            anchors=settings["anchors"],
            strides=settings["strides"],
            scales=settings.get("scales"),  # files of earlier versions have none
            loss=LossSettings(**settings["loss"]),
            nms=NmsSettings(**settings["nms"]),
        )

    def check_raw(self) -> None:
        """Refuse a graph that computes something else than raw maps.

        Raises:
            ValueError: which map has which shape.
        """
        size = 2 * max(self.strides)
        with torch.no_grad():
            raw = self(torch.zeros(1, 3, size, size))
        for level, stride in zip(raw, self.strides, strict=True):
            expected = (1, self.anchors.shape[1], size // stride, size // stride, 5 + self.num_classes)
            if tuple(level.shape) != expected:
                raise ValueError(f"a raw map is {list(level.shape)} where {list(expected)} belongs")

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W], sides multiples of the largest stride -> per level [B, A, H/s, W/s, 5 + C]"""
        values, raw = {IMAGES: images}, {}
        for node in self.graph.nodes:
            values[node.name] = self.get_submodule(node.name)(*(values[name] for name in node.inputs))
            if node.name in self.graph.outputs:
                raw[node.name] = values[node.name]
            for name in self._spent[node.name]:  # memory is that of the widest place, not of the whole network
                del values[name]
        return [raw[name] for name in self.graph.outputs]


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register a module under a dotted name; what is missing on the way is made."""
    *parents, last = path.split(".")
    for part in parents:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(last, module)


def _last_uses(graph: Graph) -> dict[str, list[str]]:
    """Node -> the values that nobody needs after it."""
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    spent: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for name, user in last.items():
        spent[user].append(name)
    return spent
