"""A network as the few operations that the engine has: a convolution takes in what comes right behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_det.modules.graph import IMAGES, Graph, GraphDetector, Node
from hydra_det.types import InputError

CURVED = ("mish", "swish", "logistic")  # activations with a pass of their own
STRAIGHT = ("leaky_relu", "relu")
OTHERS = (*STRAIGHT, *CURVED, "max_pool", "upsample", "pad", "add", "concat", "slice", "raw_map")


class Convolution(NamedTuple):
    """Weights and all that is applied to their sums.

    Attributes:
        weights: [O, I, k, k], with BatchNorm; groups are zeros elsewhere.
        bias: [O]
        stride: down and to the right.
        padding: above and below, left and right.
        dilation: down and to the right.
        slope: of LeakyReLU; 0 of ReLU, 1 of none.
        curved: another activation; None: none.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    slope: float = 1.0
    curved: str | None = None

    @property
    def side(self) -> int:
        """Of the kernel, if it is a square."""
        return self.weights.shape[2]

    @property
    def ours(self) -> bool:
        """Whether the engine computes it; torch does otherwise."""
        half = self.side // 2
        square = self.weights.shape[2] == self.weights.shape[3] and self.side % 2 == 1
        return square and self.stride in ((1, 1), (2, 2)) and self.padding == (half, half) and self.dilation == (1, 1)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Of what it makes of a map."""
        reach = [dilation * (side - 1) for dilation, side in zip(self.dilation, self.weights.shape[2:], strict=True)]
        sides = zip((height, width), self.padding, reach, self.stride, strict=True)
        first, second = ((side + 2 * padding - far - 1) // stride + 1 for side, padding, far, stride in sides)
        return first, second


class Operation(NamedTuple):
    """One thing that is done.

    Attributes:
        name: of the value that it makes.
        kind: conv, which norm is as well, or one of `OTHERS`.
        inputs: names of values; of a convolution a second one is added at the end.
        settings: as in `Node`.
        convolution: of one.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    settings: Mapping[str, Any]
    convolution: Convolution | None = None


def fuse(network: GraphDetector) -> list[Operation]:
    """The operations of a network, in an order in which they can be computed.

    Raises:
        InputError: the engine lacks an operation; the message names it.
    """
    graph = network.graph
    followers = _followers(graph)
    order = {node.name: place for place, node in enumerate(graph.nodes)}
    taken: set[str] = set()
    answer = []
    for node in graph.nodes:
        if node.name in taken:
            continue
        inputs = node.inputs
        if node.operation not in ("conv", "norm"):
            _check(node)
            answer.append(Operation(node.name, node.operation, inputs, node.settings))
            continue
        chain = _chain(node, followers)
        made = _convolution(network, chain)
        last = chain[-1]
        added = followers.get(last.name) if made.curved is None else None
        if added is not None and added.operation == "add":
            (other,) = [name for name in added.inputs if name != last.name] or [last.name]
            if order.get(other, -1) < order[node.name]:
                inputs, chain = (*inputs, other), [*chain, added]
        taken.update(part.name for part in chain)
        answer.append(Operation(chain[-1].name, "conv", inputs, {}, made))
    return answer


def shapes_of(
    operations: Sequence[Operation], size: tuple[int, int], *, channels: int = 3
) -> dict[str, tuple[int, int, int]]:
    """(C, H, W) of every value."""
    shapes = {IMAGES: (channels, *size)}
    for operation in operations:
        channels, height, width = shapes[operation.inputs[0]]
        settings = operation.settings
        if operation.convolution is not None:
            channels = len(operation.convolution.weights)
            height, width = operation.convolution.map_size(height, width)
        elif operation.kind == "max_pool":
            side, stride, padding = (int(one_of(settings[key])) for key in ("kernel_size", "stride", "padding"))
            height, width = ((side_of + 2 * padding - side) // stride + 1 for side_of in (height, width))
        elif operation.kind == "upsample":
            factor = int(one_of(settings["scale_factor"]))
            height, width = height * factor, width * factor
        elif operation.kind == "pad":
            left, right, top, bottom = settings["padding"]
            height, width = height + top + bottom, width + left + right
        elif operation.kind == "add" and len({shapes[name] for name in operation.inputs}) > 1:
            raise _lacks(f"a sum of maps of different sizes at {operation.name}")
        elif operation.kind == "slice":
            channels = settings["stop"] - settings["start"]
        elif operation.kind == "concat":
            channels = sum(shapes[name][0] for name in operation.inputs)
        shapes[operation.name] = (channels, height, width)
    return shapes


def one_of(value: Any) -> float:
    """A setting of both sides, which are equal."""
    values = {*value} if isinstance(value, tuple | list) else {value}
    if len(values) != 1:
        raise _lacks(f"{value}, which differs for height and width")
    return float(next(iter(values)))


def _followers(graph: Graph) -> dict[str, Node]:
    """The only user of a value, of those that have just one and are no output."""
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return {name: nodes[0] for name, nodes in users.items() if len(nodes) == 1 and name not in graph.outputs}


def _chain(node: Node, followers: Mapping[str, Node]) -> list[Node]:
    """A convolution, then BatchNorm and an activation where they follow."""
    chain = [node]
    for kinds in (("norm",), (*STRAIGHT, *CURVED)):
        following = followers.get(chain[-1].name)
        if following is not None and following.operation in kinds:
            chain.append(following)
    return chain


def _convolution(network: GraphDetector, chain: list[Node]) -> Convolution:
    """Its first node is a convolution, or a BatchNorm alone: a convolution of single pixels and channels."""
    layer: Any = network.get_submodule(chain[0].name)
    if chain[0].operation == "norm":
        weights, bias = torch.eye(layer.num_features, dtype=torch.float64)[:, :, None, None], None
        chain = [chain[0], *chain]
    else:
        weights, bias = ungrouped(layer.weight.detach(), layer.groups), layer.bias
    bias = torch.zeros(len(weights), dtype=torch.float64) if bias is None else bias.detach().double()
    settings: dict[str, Any] = {}
    for node in chain[1:]:
        if node.operation == "norm":
            norm: Any = network.get_submodule(node.name)
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weights = weights * scale[:, None, None, None]
            bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * scale
        elif node.operation in CURVED:
            settings["curved"] = node.operation
        else:
            settings["slope"] = _slope(node)
    if isinstance(layer, nn.Conv2d):
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise _lacks(f"{chain[0].name} with the padding {layer.padding} of {layer.padding_mode}")
        settings |= {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    return Convolution(weights.float().numpy(), bias.float().numpy(), **settings)


def ungrouped(weights: Tensor, groups: int) -> Tensor:
    """[O, I / groups, k, k] -> [O, I, k, k] in float64"""
    weights = weights.double()
    if groups == 1:
        return weights
    outputs, inputs, height, width = weights.shape
    every = weights.new_zeros(outputs, inputs * groups, height, width)
    share = outputs // groups
    for group in range(groups):
        of = slice(group * share, (group + 1) * share)
        every[of, group * inputs : (group + 1) * inputs] = weights[of]
    return every


def _check(node: Node) -> None:
    if node.operation not in OTHERS:
        raise _lacks(f"{node.operation} at {node.name}")
    if node.operation == "upsample" and node.settings["mode"] != "nearest":
        raise _lacks(f"upsampling that is {node.settings['mode']} at {node.name}")
    if node.operation == "upsample" and one_of(node.settings["scale_factor"]) % 1:
        raise _lacks(f"upsampling by {node.settings['scale_factor']} at {node.name}")
    if node.operation == "pad" and (len(node.settings["padding"]) != 4 or min(node.settings["padding"]) < 0):
        raise _lacks(f"the padding {node.settings['padding']} at {node.name}")
    if node.operation in STRAIGHT:
        _slope(node)


def _slope(node: Node) -> float:
    """Of a LeakyReLU, or of a ReLU: the answer is the larger of value and slope * value."""
    slope = float(node.settings.get("negative_slope", 0.0))
    if not 0 <= slope <= 1:
        raise _lacks(f"a negative_slope of {slope:g} at {node.name}")
    return slope


def _lacks(what: str) -> InputError:
    return InputError(
        "engine sparse: expected what it has (convolutions, BatchNorm, LeakyReLU, ReLU, Mish, Swish, sigmoid, max "
        f"pools, nearest upsampling, padding, sums, slices and concatenations), got {what}; take another engine"
    )
