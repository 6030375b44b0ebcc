"""From the layers of a `.cfg` to the graph that computes them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from hydra_det.modules.darknet.cfg import Section
from hydra_det.modules.darknet.layers import (
    COLOURS,
    Convolutional,
    Dropout,
    Layer,
    MaxPool,
    Net,
    Route,
    Shortcut,
    Upsample,
    Yolo,
    read_layer,
    read_net,
)
from hydra_det.modules.graph import IMAGES, Graph, Node
from hydra_det.types import InputError

EPSILON = 1e-6  # of BatchNorm in Darknet
COARSEST = 32  # sides of images are multiples of it
MOST_WEIGHTS = 2**30  # a slip in a file must not fill the memory
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "leaky": ("leaky_relu", {"negative_slope": 0.1, "inplace": True}),
    "relu": ("relu", {"inplace": True}),
    "mish": ("mish", {"inplace": False}),  # their gradient needs what came in
    "swish": ("swish", {"inplace": False}),
    "logistic": ("logistic", {}),
}


class Stored(NamedTuple):
    """A convolution whose numbers a `.weights` file holds.

    Attributes:
        conv: its name in the network.
        norm: the name of its BatchNorm; None: it has a bias.
        head: it writes a raw map, so its filters depend on the classes.
        number: Darknet's number of the layer; None where the network does not come from a `.cfg`.
        said: how messages name it.
    """

    conv: str
    norm: str | None
    head: bool
    number: int | None
    said: str


class Level(NamedTuple):
    """One `[yolo]` and its raw map."""

    yolo: Yolo
    head: Convolutional
    stride: int
    node: str  # that gives the raw map


class Assembly(NamedTuple):
    """A whole network. `levels` are coarsest first; `stored` is in the order of the file."""

    net: Net
    graph: Graph
    levels: list[Level]
    stored: list[Stored]


class _Map(NamedTuple):
    """What a layer gives: the node, its channels, and pixels of the image a cell."""

    node: str
    channels: int
    stride: Fraction


def assemble(sections: Sequence[Section]) -> Assembly:
    """The network of a file.

    Raises:
        InputError: a layer that is not supported or does not fit to those before it; the message names its line.
    """
    net = read_net(sections[0])
    builder = _Builder([read_layer(section) for section in sections[1:]])
    if not builder.levels:
        raise InputError(
            f"{sections[0].file}: expected a [yolo] section, got none; is it a detector of the YOLO family?"
        )
    levels = sorted(builder.levels, key=lambda level: -level.stride)
    _check_alike(levels)
    graph = Graph(builder.nodes, [level.node for level in levels])
    return Assembly(net, graph, levels, builder.stored)


def _check_alike(levels: Sequence[Level]) -> None:
    """All levels have the same classes, and as many anchors."""
    first = levels[0].yolo
    for other in (level.yolo for level in levels[1:]):
        if other.classes != first.classes:
            raise other.section.refuse(
                f"classes={first.classes} as in {first.section}", f"classes={other.classes}", key="classes"
            )
        if len(other.anchors) != len(first.anchors):
            raise other.section.refuse(
                f"{len(first.anchors)} anchors as in {first.section}", len(other.anchors), key="mask"
            )


class _Builder:
    """Goes over the layers once, and keeps what each of them gives.

    Attributes:
        nodes: of the graph so far.
        levels: the raw maps so far, in the order of the file.
        stored: the convolutions so far.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.nodes: list[Node] = []
        self.levels: list[Level] = []
        self.stored: list[Stored] = []
        self.weights = 0
        self.layers = layers
        self.maps: list[_Map | None] = []  # None of a [yolo]
        add: dict[type[Any], Callable[[Any], _Map | None]] = {
            Convolutional: self._convolutional,
            Shortcut: self._shortcut,
            Route: self._route,
            MaxPool: self._maxpool,
            Upsample: self._upsample,
            Dropout: lambda layer: self._before(layer.section),
            Yolo: self._yolo,
        }
        for layer in layers:
            self.maps.append(add[type(layer)](layer))

    def _convolutional(self, layer: Convolutional) -> _Map:
        section, before = layer.section, self._before(layer.section)
        if before.channels % layer.groups or layer.filters % layer.groups:
            raise section.refuse(
                f"groups that divide its {before.channels} input channels and {layer.filters} filters",
                f"groups={layer.groups}",
                key="groups",
            )
        head = len(self.maps) + 1 < len(self.layers) and isinstance(self.layers[len(self.maps) + 1], Yolo)
        prefix = f"layers.{section.number}"
        name = f"heads.{len(self.levels)}" if head else f"{prefix}.conv"
        self.weights += before.channels // layer.groups * layer.filters * layer.size**2
        if self.weights > MOST_WEIGHTS:
            raise section.refuse(f"a network of at most {MOST_WEIGHTS:,} weights", f"{self.weights:,} up to here")
        settings = {
            "in_channels": before.channels, "out_channels": layer.filters, "kernel_size": (layer.size, layer.size),
            "stride": (layer.stride, layer.stride), "padding": (layer.padding, layer.padding), "dilation": (1, 1),
            "groups": layer.groups, "bias": not layer.normalised,
        }  # fmt: skip
        made = self._node(name, "conv", (before.node,), settings)
        if layer.normalised:
            norm = {"num_features": layer.filters, "eps": EPSILON, "momentum": 0.1}
            made = self._node(f"{prefix}.norm", "norm", (made,), norm)
        norm_name = f"{prefix}.norm" if layer.normalised else None
        self.stored.append(Stored(name, norm_name, head, section.number, f"layer {section.number}, {section}"))
        stride = self._coarser(section, before.stride, layer.stride, 2 * layer.padding - layer.size)
        return _Map(self._activated(section, made, layer.activation), layer.filters, stride)

    def _shortcut(self, layer: Shortcut) -> _Map:
        before, other = self._before(layer.section), self._at(layer.section, layer.source, key="from")
        if other[1:] != before[1:]:
            raise layer.section.refuse(
                f"a layer of {before.channels} channels at stride {before.stride}",
                f"layer {layer.source} of {other.channels} at {other.stride}",
                key="from",
            )
        made = self._node(f"layers.{layer.section.number}.sum", "add", (before.node, other.node), {})
        return before._replace(node=self._activated(layer.section, made, layer.activation))

    def _route(self, layer: Route) -> _Map:
        section = layer.section
        parts = [self._part(layer, source) for source in layer.sources]
        if len({part.stride for part in parts}) > 1:
            strides = ", ".join(f"layer {n} at {p.stride}" for n, p in zip(layer.sources, parts, strict=True))
            raise section.refuse("layers of one stride", strides, key="layers")
        if len(parts) == 1:
            return parts[0]
        made = self._node(f"layers.{section.number}.concat", "concat", tuple(part.node for part in parts), {})
        return _Map(made, sum(part.channels for part in parts), parts[0].stride)

    def _part(self, layer: Route, source: int) -> _Map:
        """One of the equal parts of a layer's channels, or all of them."""
        whole = self._at(layer.section, source, key="layers")
        if layer.groups == 1:
            return whole
        size, rest = divmod(whole.channels, layer.groups)
        if rest:
            wanted = f"groups that divide the {whole.channels} channels of layer {source}"
            raise layer.section.refuse(wanted, f"groups={layer.groups}", key="groups")
        start = layer.group * size
        name = f"layers.{layer.section.number}.part{source}"
        return _Map(
            self._node(name, "slice", (whole.node,), {"start": start, "stop": start + size}), size, whole.stride
        )

    def _maxpool(self, layer: MaxPool) -> _Map:
        """Darknet pads with the lowest value: half of `padding` on the left, what the windows need on the right."""
        section, before = layer.section, self._before(layer.section)
        stride = self._coarser(section, before.stride, layer.stride, layer.padding - layer.size)
        left = layer.padding // 2
        right = max(0, layer.size - layer.stride - left)
        made, prefix = before.node, f"layers.{section.number}"
        # What torch pads itself is the same on both sides, and at most half a window.
        alike = right <= left <= layer.size // 2 and (2 * left - layer.size) // layer.stride == -1
        if not alike:
            pad = {"padding": (left, right, left, right), "value": float("-inf")}
            made = self._node(f"{prefix}.pad", "pad", (made,), pad)
        pool = {"kernel_size": layer.size, "stride": layer.stride, "padding": left if alike else 0}
        return before._replace(node=self._node(f"{prefix}.pool", "max_pool", (made,), pool), stride=stride)

    def _upsample(self, layer: Upsample) -> _Map:
        before = self._before(layer.section)
        if before.stride < layer.stride:
            raise layer.section.refuse("a map no finer than the image", f"stride={layer.stride} at {before.stride}")
        settings = {"scale_factor": float(layer.stride), "mode": "nearest"}
        made = self._node(f"layers.{layer.section.number}.upsample", "upsample", (before.node,), settings)
        return before._replace(node=made, stride=before.stride / layer.stride)

    def _yolo(self, layer: Yolo) -> None:
        section, before = layer.section, self._before(layer.section)
        head = self.layers[section.number - 1]
        if not isinstance(head, Convolutional):
            raise section.refuse("a [convolutional] before it", f"[{head.section.name}]")
        wanted = len(layer.anchors) * (5 + layer.classes)
        if head.filters != wanted:
            raise head.section.refuse(
                f"filters={wanted}, {len(layer.anchors)} anchors x (5 + {layer.classes} classes) of {section},",
                f"filters={head.filters}",
                key="filters",
            )
        if head.normalised or head.activation != "linear":
            raise head.section.refuse(
                f"activation=linear without batch_normalize before {section}",
                f"activation={head.activation}, batch_normalize={int(head.normalised)}",
            )
        if before.stride.denominator != 1:
            raise section.refuse("a map of whole pixels a cell", before.stride)
        anchors = {"anchors": len(layer.anchors)}
        made = self._node(f"raw.{len(self.levels)}", "raw_map", (before.node,), anchors)
        self.levels.append(Level(layer, head, int(before.stride), made))

    def _before(self, section: Section) -> _Map:
        """What the layer before gives; the image before the first."""
        return self._at(section, section.number - 1) if section.number else _Map(IMAGES, COLOURS, Fraction(1))

    def _at(self, section: Section, index: int, *, key: str | None = None) -> _Map:
        found = self.maps[index]
        if found is None:
            raise section.refuse("features to read", f"layer {index}, a [yolo]; begin with a [route]", key=key)
        return found

    def _coarser(self, section: Section, stride: Fraction, by: int, slack: int) -> Fraction:
        """The stride behind a window; refused where a map does not shrink by just that factor."""
        if slack // by != -1:
            raise section.refuse(
                f"padding with which a map shrinks by its stride of {by} exactly", f"{slack} left over"
            )
        coarser = stride * by
        if (COARSEST / coarser).denominator != 1:
            raise section.refuse(f"a stride of the image that divides {COARSEST}", coarser)
        return coarser

    def _activated(self, section: Section, made: str, activation: str) -> str:
        if activation == "linear":
            return made
        operation, settings = ACTIVATIONS[activation]
        return self._node(f"layers.{section.number}.activation", operation, (made,), dict(settings))

    def _node(self, name: str, operation: str, inputs: tuple[str, ...], settings: dict[str, Any]) -> str:
        self.nodes.append(Node(name, operation, inputs, settings))
        return name
