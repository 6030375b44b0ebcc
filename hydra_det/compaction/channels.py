"""Which channels of a graph are one, which carry nothing, and which nobody needs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn

from hydra_det.compaction.sizes import COLOURS, positions, probe
from hydra_det.compaction.trace import trace
from hydra_det.modules.graph import IMAGES, Graph, Node
from hydra_det.modules.masked_conv import MaskedConv2d, masked_layers
from hydra_det.pruning.layout import Layer, Layout
from hydra_det.types import InputError

Channels = NDArray[np.int64]
Flags = NDArray[np.bool_]

# What looks at all channels of a map together, or has values of its own for each: none of them may go.
WHOLE = ("group_norm", "l2_norm", "scale")
NEVER_ZERO = ("logistic", "hardsigmoid", "entry", "group_norm")  # zeros in, something else out
BLIND_PADDING = (0.0, float("-inf"))  # the second comes before max pooling, which never takes it


def channel_ids(graph: Graph) -> dict[str, Channels]:
    """The channels of every map: equal numbers are one channel, which stays or goes as a whole.

    A convolution writes new channels; in one with groups those that a group reads and writes are one. A sum makes pairs
    of channels one, a concatenation lists those of its parts, a slice some of them, and everything else passes them on.
    Numbers are dense and rise in the order of the graph.

    Returns:
        Node, or `IMAGES`, -> [C] int64.

    Raises:
        InputError: a sum or product of maps with unequal numbers of channels.
    """
    found: dict[str, Channels] = {IMAGES: np.arange(COLOURS)}
    used: dict[str, Node] = {}  # layer -> its first use
    count, ties = COLOURS, [np.zeros((2, 0), dtype=np.int64)]  # pairs of channels that are one, [2, n] each
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        if node.operation == "conv":
            found[node.name] = np.arange(count, count + node.settings["out_channels"])
            count += node.settings["out_channels"]
            ties += _grouped(inputs[0], found[node.name], node.settings.get("groups", 1))
            first_use = used.setdefault(node.layer, node)  # a layer that is used again reads and writes the same
            ties += [np.stack([found[first_use.name], found[node.name]])]
            ties += [np.stack([found[first_use.inputs[0]], inputs[0]])]
        elif node.operation == "slice":
            found[node.name] = inputs[0][_part(node)]
        elif node.operation == "concat":
            found[node.name] = np.concatenate(inputs)
        else:
            if wrong := [len(other) for other in inputs if len(other) != len(inputs[0])]:
                raise InputError(
                    f"compaction: expected maps with equally many channels at {node.name}, got {len(inputs[0])} and "
                    f"{wrong[0]}"
                )
            ties += [np.stack([inputs[0], other]) for other in inputs[1:]]
            found[node.name] = inputs[0]
    first, second = np.concatenate(ties, axis=1)
    tied = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    _, dense = connected_components(tied, directed=False)  # numbered by their oldest channel
    return {name: dense[channels].astype(np.int64) for name, channels in found.items()}


def spread(flags: Flags, groups: int) -> Flags:
    """Which input reaches which filter: of the kernels of a convolution with groups. [O, I/groups] -> [O, I]"""
    outputs, inputs = flags.shape
    blocks = np.zeros((groups, outputs // groups, groups, inputs), dtype=bool)
    blocks[np.arange(groups), :, np.arange(groups)] = flags.reshape(groups, outputs // groups, inputs)
    return blocks.reshape(outputs, groups * inputs)


def layout(network: nn.Module, *, channels: bool = True) -> Layout:
    """The masked layers of a network, which may have others beside them.

    Args:
        network: in any form that runs.
        channels: whether somebody asks which of them belong together. If not, a network that cannot be traced has its
            layers stand apart, and none of its channels may go.

    Raises:
        InputError: the network cannot be traced, and must be.
    """
    try:
        graph = trace(network)
        ids = channel_ids(graph)
    except InputError:
        if channels:
            raise
        return _apart(masked_layers(network), positions(network, probe(network)), first=0)
    count = 1 + max(int(channels.max()) for channels in ids.values())
    # Those of another part of the network than its forward share no channel with it.
    traced = {node.layer for node in _convolutions(graph)}
    at = positions(network, probe(network))
    aside = _apart([pair for pair in masked_layers(network) if pair[0] not in traced], at, first=count)
    outputs = _flags(count, [ids[name] for name in graph.outputs])
    fixed = outputs | _flags(count, [ids[IMAGES], *whole(graph, ids)])
    layers = {}
    for node in _convolutions(graph):
        layer, reads, writes = network.get_submodule(node.layer), ids[node.inputs[0]], ids[node.name]
        if isinstance(layer, MaskedConv2d):
            layers[node.layer] = Layer(
                shape=tuple(layer.weight.shape),
                writes=torch.from_numpy(writes),
                reads=torch.from_numpy(reads),
                positions=at[node.layer],
                groups=layer.groups,
            )
        else:
            fixed |= _flags(count, [reads, writes])
    return Layout(
        layers | aside.layers,
        torch.cat([torch.from_numpy(fixed), aside.fixed]),
        torch.cat([torch.from_numpy(outputs), aside.outputs]),
    )


def whole(graph: Graph, ids: Mapping[str, Channels]) -> list[Channels]:
    """The channels that stay because of an operation that looks at all of a map."""
    return [ids[node.name] for node in graph.nodes if node.operation in WHOLE]


def _apart(found: Sequence[tuple[str, Any]], at: Mapping[str, int], *, first: int) -> Layout:
    """Masked layers as if none read what another one writes; their channels are counted from `first` on."""
    layers, count = {}, first
    for name, layer in found:
        shape = tuple(layer.scores.shape)
        groups = getattr(layer, "groups", 1)
        inputs = shape[1] * groups
        reads = torch.arange(count, count + inputs)
        writes = torch.arange(count + inputs, count + inputs + shape[0])
        count += inputs + shape[0]
        layers[name] = Layer(shape, writes, reads, positions=at[name], groups=groups)
    stay = torch.ones(count - first, dtype=torch.bool)
    return Layout(layers, fixed=stay, outputs=stay)


def silent(
    graph: Graph, weights: Mapping[str, Flags], biases: Mapping[str, Flags], quiet: Mapping[str, Flags]
) -> dict[str, Flags]:
    """The channels of every map that are exactly zero whatever the image shows.

    Args:
        graph: in eval mode.
        weights: convolution -> [O, I], True where a kernel is not all zero; of groups as from `spread`.
        biases: convolution -> [O], True where it adds something.
        quiet: BatchNorm -> [C], True where it makes zero of zero.

    Returns:
        Node, or `IMAGES`, -> [C] bool.
    """
    zero: dict[str, Flags] = {IMAGES: np.zeros(COLOURS, dtype=bool)}
    for node in graph.nodes:
        inputs = [zero[name] for name in node.inputs]
        if node.operation == "conv":
            zero[node.name] = ~((weights[node.name] & ~inputs[0]).any(axis=1) | biases[node.name])
        elif node.operation in ("norm", "frozen_norm"):
            zero[node.name] = inputs[0] & quiet[node.name]
        elif node.operation == "concat":
            zero[node.name] = np.concatenate(inputs)
        elif node.operation == "add":
            zero[node.name] = inputs[0] & inputs[1]
        elif node.operation == "multiply":
            zero[node.name] = inputs[0] | inputs[1]
        elif node.operation == "slice":
            zero[node.name] = inputs[0][_part(node)]
        elif node.operation in NEVER_ZERO or (node.operation == "pad" and node.settings["value"] not in BLIND_PADDING):
            zero[node.name] = np.zeros_like(inputs[0])
        else:  # the other activations, pooling and upsampling leave zero zero
            zero[node.name] = inputs[0]
    return zero


def needed(graph: Graph, weights: Mapping[str, Flags], zero: Mapping[str, Flags]) -> dict[str, Flags]:
    """The channels of every map that are not zero and that a raw map depends on.

    Args:
        graph: in eval mode.
        weights: as for `silent`.
        zero: from `silent`.

    Returns:
        Node, or `IMAGES`, -> [C] bool.
    """
    wanted = {name: np.zeros_like(flags) for name, flags in zero.items()}
    for name in graph.outputs:
        wanted[name][:] = True
    for node in reversed(graph.nodes):
        here = wanted[node.name] = wanted[node.name] & ~zero[node.name]
        if node.operation in WHOLE:
            here = np.ones_like(here)
        if node.operation == "conv":
            wanted[node.inputs[0]] |= (weights[node.name] & here[:, None]).any(axis=0)
        elif node.operation == "concat":
            ends = np.cumsum([len(zero[name]) for name in node.inputs])[:-1]
            for name, part in zip(node.inputs, np.split(here, ends), strict=True):
                wanted[name] |= part
        elif node.operation == "slice":
            wanted[node.inputs[0]][_part(node)] |= here
        else:
            for name in node.inputs:
                wanted[name] |= here
    return wanted


def silenced(network: nn.Module) -> dict[str, Flags]:
    """The channels of every BatchNorm that hear nothing: masks leave them no weight, or only those of silent channels.

    Scale and shift of these channels count as zero, as they must be for the network to be compacted.

    Args:
        network: masked; layers without a mask are heard.

    Returns:
        BatchNorm -> [C] bool.
    """
    graph = trace(network)
    zero = _silent_by_masks(graph, network, biases=True)
    found: dict[str, Flags] = {}
    for node in graph.nodes:
        if node.operation == "norm":  # of one that is used again a channel hears nothing where it never does
            found[node.layer] = found.get(node.layer, True) & zero[node.inputs[0]]
    return found


@torch.no_grad()
def silence(network: nn.Module) -> dict[str, Flags]:
    """Zero scale and shift of the channels that hear nothing, in place; which they are, as from `silenced`."""
    found = silenced(network)
    for name, dead in found.items():
        for parameter in network.get_submodule(name).parameters():
            parameter[torch.from_numpy(dead).to(parameter.device)] = 0
    return found


def cut_off(network: nn.Module) -> list[str]:
    """The layers that write a raw map of which no value depends on the image, by the masks of a network."""
    graph = trace(network)
    constant = _silent_by_masks(graph, network, biases=False)
    by_name = {node.name: node for node in graph.nodes}
    ends = [by_name[name] for name in graph.outputs if constant[name].all()]
    return [node.inputs[0] if node.operation == "raw_map" else node.layer for node in ends]


def zero_of_zero(norm: Any) -> Flags:
    """The channels of which a normalisation by constants makes exactly zero of zero. -> [C]"""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # in the order of its forward: of equal roundings
    flags: Flags = (norm.bias == norm.running_mean * scale).cpu().numpy()
    return flags


def _silent_by_masks(graph: Graph, network: nn.Module, *, biases: bool) -> dict[str, Flags]:
    weights, added, quiet = {}, {}, {}
    for node in graph.nodes:
        if node.operation == "conv":
            layer: Any = network.get_submodule(node.layer)
            # What has no mask is trained: zeros there need not stay.
            kept = layer.mask if isinstance(layer, MaskedConv2d) else torch.ones_like(layer.weight, dtype=torch.bool)
            weights[node.name] = spread(kept.flatten(2).any(2).cpu().numpy(), layer.groups)
            added[node.name] = np.full(len(kept), biases and layer.bias is not None)
        elif node.operation == "norm":
            quiet[node.name] = np.ones(node.settings["num_features"], dtype=bool)
        elif node.operation == "frozen_norm":
            quiet[node.name] = zero_of_zero(network.get_submodule(node.layer))
    return silent(graph, weights, added, quiet)


def _grouped(reads: Channels, writes: Channels, groups: int) -> list[Channels]:
    """Pairs that make what each group reads and writes one channel. [2, n] each; none of a single group"""
    if groups == 1:
        return []
    first = reads.reshape(groups, -1)[:, 0]  # of every group
    return [np.stack([np.repeat(first, len(ends) // groups), ends]) for ends in (reads, writes)]


def _part(node: Node) -> slice:
    return slice(node.settings["start"], node.settings["stop"])


def _convolutions(graph: Graph) -> Iterable[Node]:
    return (node for node in graph.nodes if node.operation == "conv")


def _flags(count: int, chosen: Iterable[Channels]) -> Flags:
    """True at the chosen channels. -> [count]"""
    flags = np.zeros(count, dtype=bool)
    for channels in chosen:
        flags[channels] = True
    return flags
