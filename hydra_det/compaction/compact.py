"""From zeros in the weights to a smaller network that answers the same.

A channel goes when it is exactly zero or when nothing depends on it, at every place where it comes. Nothing is folded
or approximated: what a pruned filter still emits because of its BatchNorm keeps the channel.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hydra_det.compaction.channels import (
    Channels,
    Flags,
    channel_ids,
    needed,
    silent,
    spread,
    whole,
    zero_of_zero,
)
from hydra_det.compaction.cutting import cut
from hydra_det.compaction.sizes import probe
from hydra_det.compaction.trace import WITH_WEIGHTS, can_be_rebuilt, trace
from hydra_det.modules.graph import IMAGES, Graph, GraphDetector, Node
from hydra_det.modules.masked_conv import make_dense
from hydra_det.modules.raw_maps import tensors_of
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.types import InputError

# The largest difference that compaction may make, as a share of the largest value of a raw map.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
PROOF_IMAGES = ((2, 3, 64, 96), (1, 3, 160, 128))


class Compacted(NamedTuple):
    """A smaller network, and the proof.

    Attributes:
        network: in eval mode; of the YOLO family a `GraphDetector`, of another one of its own class.
        differences: largest difference to the original by precision, as a share of the largest value.
    """

    network: Any
    differences: dict[str, float]


def compact(network: nn.Module, *, multiple: int = 1) -> Compacted:
    """Remove every channel, layer and branch of a detector that adds nothing to its answer, and prove it.

    Args:
        network: a masked or dense detector; is not changed.
        multiple: round the channels of every layer up to a multiple of this, with channels that are zero.

    Raises:
        InputError: the network cannot be traced, or the smaller one does not answer the same.
    """
    if multiple < 1:
        raise InputError(f"multiple: expected a whole number of at least 1, got {multiple}")
    dense: Any = make_dense(copy.deepcopy(network)).cpu().eval()
    graph = trace(dense)
    if not isinstance(dense, YoloDetector) or not can_be_rebuilt(graph):
        narrower = _cut_down(dense, graph, multiple)
        return Compacted(narrower, prove_equal(dense, narrower))
    smaller = _smaller(dense, multiple)
    # A group that is left alone is an ordinary convolution, and such a one can lose single channels.
    while (again := _smaller(smaller, multiple)).graph.nodes != smaller.graph.nodes:
        smaller = again
    return Compacted(smaller, prove_equal(dense, smaller))


def as_graph(network: nn.Module) -> Any:
    """The network as it is, zeros included, in the form of a compact one.

    Raises:
        InputError: it cannot be traced.
    """
    dense: Any = make_dense(copy.deepcopy(network)).cpu().eval()
    graph = trace(dense)
    if not isinstance(dense, YoloDetector) or not can_be_rebuilt(graph):
        return dense
    tensors = dense.state_dict()
    made = GraphDetector.from_settings(graph, dense.settings())
    made.load_state_dict({name: tensors[name] for name in made.state_dict()})
    return made.eval()


def prove_equal(original: nn.Module, smaller: nn.Module) -> dict[str, float]:
    """Compare the raw maps of two networks on random images, borders included, in float64 and float32.

    Returns:
        Largest difference by precision, as a share of the largest value of a raw map.

    Raises:
        InputError: it is above `TOLERANCE`.
    """
    differences = {}
    for dtype, tolerance in TOLERANCE.items():
        before, after = (copy.deepcopy(net).to(dtype).eval() for net in (original, smaller))
        found = _differences(before, after, dtype)
        worst, level = max(found, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
        name = str(dtype).removeprefix("torch.")
        if not worst <= tolerance:  # also if it is NaN
            raise InputError(
                f"compaction: expected the same raw maps as before, within {tolerance} of their largest value in "
                f"{name}, got a difference of {worst:.1e} at level {level}; the compact network is not written"
            )
        differences[name] = worst
    return differences


@torch.no_grad()
def _differences(original: nn.Module, smaller: nn.Module, dtype: torch.dtype) -> list[tuple[float, int]]:
    """(difference, level) over all images."""
    generator = torch.Generator().manual_seed(0)
    found = []
    least = probe(original)
    for batch, colours, height, width in PROOF_IMAGES:
        shape = (batch, colours, max(height, least), max(width, least))
        images = torch.rand(shape, generator=generator, dtype=dtype)
        pairs = zip(tensors_of(original(images)), tensors_of(smaller(images)), strict=True)
        for level, (wanted, got) in enumerate(pairs):
            found.append((float((wanted - got).abs().max() / wanted.abs().max()), level))
    return found


def _smaller(dense: Any, multiple: int) -> GraphDetector:
    graph = trace(dense)
    ids = channel_ids(graph)
    need = _needed(graph, dense)
    graph = _without_branches(graph, need)
    keep = _kept(graph, ids, need, multiple)
    nodes: list[Node] = []
    state: dict[str, Tensor] = {}
    same_as: dict[str, str] = {}  # what is left of a concatenation with a single part: that part
    for node in graph.nodes:
        here = np.flatnonzero(keep[ids[node.name]])
        parts = [name for name in node.inputs if keep[ids[name]].any()]
        inputs = tuple(same_as.get(name, name) for name in parts)
        if not len(here):
            continue
        if node.operation == "concat" and len(inputs) == 1:
            same_as[node.name] = inputs[0]
            continue
        kept_inputs = np.flatnonzero(keep[ids[node.inputs[0]]])
        nodes.append(_resized(node, inputs, kept_inputs, len(here)))
        state |= _state(dense, node, kept_inputs, here)
    made = GraphDetector.from_settings(Graph(nodes, graph.outputs), dense.settings())
    made.load_state_dict(state)
    return made.eval()


def _cut_down(dense: Any, graph: Graph, multiple: int) -> Any:
    """A copy with fewer channels, of the same class."""
    ids = channel_ids(graph)
    keep = _kept(graph, ids, _needed(graph, dense), multiple)
    for channels in ids.values():  # every layer stays, so that something has to stay in it
        if not keep[channels].any():
            keep[channels[0]] = True
    tensors = dict(dense.state_dict())
    for node in graph.nodes:
        here = np.flatnonzero(keep[ids[node.name]])
        reads = np.flatnonzero(keep[ids[node.inputs[0]]])
        tensors |= _state(dense, node, reads, here)
    tensors |= {alias: tensors[name] for alias, name in _aliases(dense).items()}
    try:
        smaller: Any = cut(copy.deepcopy(dense), tensors)
    except ValueError as error:
        raise InputError(f"compaction: expected layers that can be cut, got {type(dense).__name__}: {error}") from error
    smaller.load_state_dict(tensors)
    return smaller.eval()


def _aliases(network: nn.Module) -> dict[str, str]:
    """Other names of tensors of modules that stand in a network more than once -> their first names."""
    first = {module: name for name, module in network.named_modules()}
    return {
        f"{name}.{key}": f"{first[module]}.{key}"
        for name, module in network.named_modules(remove_duplicate=False)
        if name != first[module]
        for key in module.state_dict()
    }


def _needed(graph: Graph, dense: nn.Module) -> dict[str, Flags]:
    """The channels of every map that are not zero and that somebody needs, from the values of the weights."""
    weights, biases, quiet = {}, {}, {}
    for node in graph.nodes:
        module: Any = dense.get_submodule(node.layer) if node.operation in WITH_WEIGHTS else None
        if node.operation == "conv":
            weights[node.name] = spread((module.weight != 0).flatten(2).any(2).numpy(), module.groups)
            biases[node.name] = (
                np.zeros(len(module.weight), bool) if module.bias is None else (module.bias != 0).numpy()
            )
        elif node.operation == "norm":
            # Of zero it makes bias - mean * weight / deviation.
            quiet[node.name] = ((module.bias == 0) & ((module.weight == 0) | (module.running_mean == 0))).numpy()
        elif node.operation == "frozen_norm":
            quiet[node.name] = zero_of_zero(module)
    return needed(graph, weights, silent(graph, weights, biases, quiet))


def _without_branches(graph: Graph, need: dict[str, Flags]) -> Graph:
    """Sums without the terms that nobody needs, and without all that only those needed."""
    same_as: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(same_as.get(name, name) for name in node.inputs)
        terms = [name for name, old in zip(inputs, node.inputs, strict=True) if need[old].any()]
        if node.operation == "add" and len(terms) == 1:
            same_as[node.name] = terms[0]
        else:
            nodes.append(node._replace(inputs=inputs))
    reached = set(graph.outputs)
    for node in reversed(nodes):
        if node.name in reached:
            reached |= set(node.inputs)
    return Graph([node for node in nodes if node.name in reached], graph.outputs)


def _kept(graph: Graph, ids: dict[str, Channels], need: dict[str, Flags], multiple: int) -> Flags:
    """The channels that stay. -> [number of channels] bool"""
    keep = np.zeros(1 + max(int(channels.max()) for channels in ids.values()), dtype=bool)
    for channels in (ids[IMAGES], *(ids[name] for name in graph.outputs), *whole(graph, ids)):
        keep[channels] = True
    for name, flags in need.items():
        keep[ids[name][flags]] = True
    convolutions = [node for node in graph.nodes if node.operation == "conv"]
    for node in reversed(convolutions):
        # A convolution cannot be without inputs: where only its bias is left it reads one channel of zeros.
        if keep[ids[node.name]].any() and not keep[ids[node.inputs[0]]].any():
            keep[ids[node.inputs[0]][0]] = True
    _round_up([ids[node.name] for node in convolutions], keep, multiple)
    return keep


def _round_up(written: Sequence[Channels], keep: Flags, multiple: int) -> None:
    """Keep further channels, in place, until every convolution that is left writes a multiple, or all that it has."""
    before = -1
    while before != int(keep.sum()):  # what one convolution keeps another one may write too
        before = int(keep.sum())
        for channels in written:
            while keep[channels].any() and keep[channels].sum() % multiple and not keep[channels].all():
                # A channel of groups is several at once, so that some numbers are passed over.
                keep[channels[~keep[channels]][0]] = True


def _resized(node: Node, inputs: tuple[str, ...], reads: Channels, writes: int) -> Node:
    settings = dict(node.settings)
    if node.operation == "conv":
        # Groups go as a whole: what they read and write is one channel.
        groups = len(reads) * settings["groups"] // settings["in_channels"] if settings["groups"] > 1 else 1
        settings |= {"in_channels": len(reads), "out_channels": writes, "groups": groups}
    elif node.operation == "slice":
        start = int((reads < settings["start"]).sum())
        settings |= {"start": start, "stop": start + writes}
    elif node.operation == "norm":
        settings |= {"num_features": writes}
    return Node(node.name, node.operation, inputs, settings)


def _state(dense: nn.Module, node: Node, reads: Channels, writes: Channels) -> dict[str, Tensor]:
    """The tensors of a node with the channels that are left."""
    if node.operation not in WITH_WEIGHTS:
        return {}
    state = {}
    ungrouped = node.settings.get("groups", 1) == 1  # a filter of a group reads all that is left of the group: itself
    for name, tensor in dense.get_submodule(node.layer).state_dict().items():
        left = tensor[writes] if tensor.ndim else tensor  # BatchNorm's count of batches is a single number
        state[f"{node.layer}.{name}"] = left[:, reads].contiguous() if tensor.ndim == 4 and ungrouped else left
    return state
