"""What a network computes, as a graph of the operations that channels can be followed through."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops import FrozenBatchNorm2d

from hydra_det.modules.entry import Entry
from hydra_det.modules.graph import IMAGES, OPERATIONS, Graph, Node
from hydra_det.modules.norms import L2Norm
from hydra_det.types import InputError

# What can be followed, and is not rebuilt from a graph: such a network is cut where it stands.
FOLLOWED: dict[str, type[nn.Module]] = {
    "entry": Entry,
    "frozen_norm": FrozenBatchNorm2d,
    "group_norm": nn.GroupNorm,
    "l2_norm": L2Norm,
    "average": nn.AdaptiveAvgPool2d,
    "odd_pool": nn.MaxPool2d,  # with dilation, or that rounds up
}
WITH_WEIGHTS = ("conv", "norm", "frozen_norm", "group_norm")


def trace(network: nn.Module) -> Graph:
    """The graph of a network, dense or masked.

    Raises:
        InputError: the network does something that channels cannot be followed through; the message names it.
    """
    try:
        return _graph(_Tracer().trace(network), network)
    except InputError:
        raise
    except Exception as error:  # whatever a network that cannot be followed makes of it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"compaction: expected a network whose forward is the same for every image, got {type(network).__name__} "
            f"({reason})"
        ) from error


def can_be_rebuilt(graph: Graph) -> bool:
    """Whether the nodes of a graph say all that it takes to build the network anew."""
    return all(node.operation in OPERATIONS and not node.shared for node in graph.nodes)


def _graph(traced: fx.Graph, network: nn.Module) -> Graph:
    names: dict[fx.Node, str] = {}
    nodes: list[Node] = []
    outputs: list[str] = []
    for found in traced.nodes:
        if found.op == "placeholder":
            names[found] = IMAGES
        elif found.op == "output":
            answer = _values(found.args[0])
            if not all(value in names for value in answer):
                raise _unknown("a forward that returns something else than raw maps")
            outputs = [names[value] for value in answer]
        elif found.op == "call_module" and isinstance(network.get_submodule(str(found.target)), nn.Identity):
            names[found] = names[found.args[0]]  # does nothing
        elif not _is_no_map(found, names):
            node = _node(found, names, network)
            if any(node.name == other.name for other in nodes):
                node = node._replace(name=found.name, shared=node.name)
            names[found] = node.name
            nodes.append(node)
    return Graph(nodes, outputs)


def _values(answer: Any) -> list[fx.Node]:
    """The nodes in lists, tuples and dictionaries, in their order."""
    found: list[fx.Node] = []

    def add(value: fx.Node) -> fx.Node:
        found.append(value)
        return value

    fx.node.map_arg(answer, add)
    return found


def _is_no_map(found: fx.Node, names: dict[fx.Node, str]) -> bool:
    """Whether a value is the size of a map, or a constant: what is done with it is asked where a map meets it."""
    inputs = found.all_input_nodes
    if found.op == "get_attr":
        return True
    if found.op == "call_function" and found.target is getattr:
        return str(found.args[1]) == "shape"
    return bool(inputs) and not any(value in names for value in inputs)


class _Tracer(fx.Tracer):
    """Looks into everything but the operations themselves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _operation(m) is not None or super().is_leaf_module(m, module_qualified_name)


def _operation(module: nn.Module) -> str | None:
    """The key of a module's class; a masked convolution is a convolution, and BatchNorm over processes is BatchNorm."""
    if isinstance(module, nn.SyncBatchNorm):
        return "norm"
    if isinstance(module, nn.MaxPool2d) and (module.ceil_mode or module.dilation not in (1, (1, 1))):
        return "odd_pool"
    known = {**{name: made.module for name, made in OPERATIONS.items()}, **FOLLOWED}
    return next((name for name, kind in known.items() if isinstance(module, kind)), None)


def _node(found: fx.Node, names: dict[fx.Node, str], network: nn.Module) -> Node:
    if found.op == "call_module":
        if found.kwargs:
            raise _unknown(f"a call of {found.target} with keywords")
        module = network.get_submodule(str(found.target))
        operation = _operation(module)
        if operation is None:
            raise _unknown(f"{type(module).__name__} at {found.target}")
        inputs = tuple(names[value] for value in found.args)  # type: ignore[index]
        # One that has no weights may be used often, under a name of its own each time.
        name = str(found.target) if operation in WITH_WEIGHTS else found.name
        return Node(name, operation, inputs, _settings(module, operation, str(found.target)))
    if found.target in ("mean", torch.mean) and _averages_places(found):
        return Node(found.name, "average", (names[found.args[0]],), {})  # type: ignore[index]
    if found.op == "call_function":
        return _function(found, names)
    raise _unknown(f"{found.target} at {found.name}")


def _averages_places(found: fx.Node) -> bool:
    """Whether a mean is that of all places of a map, which stays a map: [B, C, H, W] -> [B, C, 1, 1]."""
    options: dict[str, Any] = dict(zip(("dim", "keepdim"), found.args[1:], strict=False)) | dict(found.kwargs)
    dims = options.get("dim")
    places = isinstance(dims, list | tuple) and sorted(int(dim) % 4 for dim in dims) == [2, 3]
    return places and options.keys() <= {"dim", "keepdim"} and options.get("keepdim") is True


def _settings(module: nn.Module, operation: str, name: str) -> dict[str, Any]:
    """The arguments that would make the module anew."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise _unknown(f"one with a padding other than zeros at {name}")
    if operation == "norm" and not (module.affine and module.track_running_stats):
        raise _unknown(f"a BatchNorm without scale or statistics at {name}")
    if operation == "upsample" and (module.mode != "nearest" or module.size is not None):
        raise _unknown(f"an upsampling by {module.mode} to {module.size or 'a multiple'} at {name}")
    if operation == "average" and module.output_size not in (1, (1, 1)):
        raise _unknown(f"an average to {module.output_size} at {name}")
    if operation in FOLLOWED:
        return {}
    settings = {argument: getattr(module, argument) for argument in OPERATIONS[operation].arguments}
    return settings | ({"bias": settings["bias"] is not None} if "bias" in settings else {})


def _function(found: fx.Node, names: dict[fx.Node, str]) -> Node:
    arguments: tuple[Any, ...] = found.args
    options: dict[str, Any] = dict(found.kwargs)
    plain = all(isinstance(argument, fx.Node) and argument in names for argument in arguments) and not options
    if found.target in (operator.add, operator.iadd, torch.add) and plain:
        return Node(found.name, "add", tuple(names[value] for value in arguments), {})
    if found.target in (operator.mul, torch.mul) and not options:
        maps = tuple(names[value] for value in arguments if value in names)
        return Node(found.name, "multiply" if len(maps) == 2 else "scale", maps, {})
    if found.target is F.interpolate and arguments[0] in names and options.get("mode", "nearest") == "nearest":
        return Node(found.name, "resize", (names[arguments[0]],), {})
    if found.target is F.max_pool2d:
        return Node(found.name, "odd_pool", (names[arguments[0]],), {})
    if found.target in (torch.cat, torch.concat):
        maps, dim = arguments[0], options.get("dim", arguments[1] if len(arguments) > 1 else 0)
        if dim == 1:
            return Node(found.name, "concat", tuple(names[value] for value in maps), {})
    if found.target is F.pad and options.get("mode", "constant") == "constant":
        settings = {"padding": tuple(arguments[1]), "value": float(options.get("value") or 0.0)}
        return Node(found.name, "pad", (names[arguments[0]],), settings)
    raise _unknown(f"{getattr(found.target, '__name__', found.target)} at {found.name}")


def _unknown(what: str) -> InputError:
    return InputError(
        f"compaction: expected convolutions, BatchNorm, known activations, pooling, nearest upsampling, padding, sums, "
        f"products, slices and concatenations of channels only, got {what}"
    )
