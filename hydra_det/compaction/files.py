"""A compact network on disk: `architecture.json`, which says what it computes, and `weights.safetensors`.

Both are plain data: nothing is executed when they are read, and neither the config nor the class that the network came
from is needed. A network of somebody else's class is the exception: its file holds the name of the class alone, and
whoever reads it says how the whole network is made, out of something that it trusts.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.compaction.cutting import cut
from hydra_det.compaction.sizes import probe
from hydra_det.files.atomic import write_atomically
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.modules.graph import IMAGES, OPERATIONS, Graph, GraphDetector, Node
from hydra_det.modules.raw_maps import tensors_of
from hydra_det.modules.torchvision.registry import family_of, rebuilt
from hydra_det.modules.weights import check_shapes, read_weights, save_weights
from hydra_det.records.schema import read_object
from hydra_det.types import InputError

FORMAT, VERSION = "hydra_det compact network", 1
COMPACT = "compact"  # the folder that compact.py leaves in that of a run
ARCHITECTURE, WEIGHTS = "architecture.json", "weights.safetensors"
EARLIER = {"conv": {"groups": 1}}  # settings that files of earlier versions do not have
Make = Callable[[], nn.Module]  # the whole network of somebody else's class, with any weights
CLASS = "class"  # the key of its name
# What the constructors and operators of torch raise of values that do not fit.
_NO_NETWORK = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_compact(folder: Path, network: Any, about: Mapping[str, Any]) -> None:
    """Write a network into a folder.

    Args:
        folder: is made.
        network: what `compact` returns.
        about: plain values that go with it, such as the names of the classes and the size of the input.
    """
    described = _described(network)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "about": dict(about),
        **described,
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    (folder / ARCHITECTURE).unlink(missing_ok=True)  # a folder without it is no network
    save_weights(network, folder / WEIGHTS)
    write_atomically(folder / ARCHITECTURE, text)


def load_compact(folder: str | Path, *, make: Make | None = None) -> tuple[Any, dict[str, Any]]:
    """The network of a folder, in eval mode, and what is said about it.

    Args:
        folder: as `save_compact` leaves it.
        make: makes the whole network, where its class is none of hydra_det's.

    Raises:
        InputError: the folder holds no compact network of this version, or not all of its tensors, or it is of
            somebody else's class and there is no `make`.
    """
    file = Path(folder) / ARCHITECTURE
    if not file.is_file():
        raise InputError(f"{file}: expected the description of a compact network, found none; check the path")
    try:
        content = read_object(file, what=f"a {FORMAT}")
        kind, version, about = content["format"], content["version"], dict(content["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected a {FORMAT}, got another file or a part of one; write it anew") from error
    if kind != FORMAT or version != VERSION:
        raise InputError(
            f"{file}: expected a {FORMAT} of version {VERSION}, got {kind!s:.60} of version {version!s:.60}; write it "
            "anew by compact.py, or read it with the hydra_det that wrote it"
        )
    if CLASS in content and make is None:
        raise InputError(
            f"{file}: expected a network of hydra_det's own classes, got one of {content[CLASS]!s:.100}; open it from "
            f"the folder of its run with trust=[{content[CLASS]!s:.100}], or say by make= what makes the whole network"
        )
    cut_from = CLASS in content or "family" in content
    tensors = read_weights(Path(folder) / WEIGHTS) if cut_from else {}
    try:
        # Shapes first: a number too many in the description may ask for more memory than there is.
        with torch.device("cpu" if CLASS in content else "meta"):  # where another's constructor may compute
            planned = _build(content, tensors, make)
    except _NO_NETWORK as error:
        if CLASS in content and isinstance(error, InputError):  # of what makes the whole network
            raise
        raise _no_network(file, error) from error
    found = check_shapes(planned, Path(folder) / WEIGHTS)
    try:
        network = _build(content, tensors, make)
    except _NO_NETWORK as error:
        if is_of_machine(error):  # what was planned has the size of the weights
            raise
        raise _no_network(file, error) from error
    network.load_state_dict(found)
    if broken := [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]:
        raise InputError(f"{Path(folder) / WEIGHTS}: expected finite weights, got others in {broken[0]}; write it anew")
    return network.eval(), about


def _no_network(file: Path, error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {error!s:.200}"
    return InputError(f"{file}: expected a whole description, got one that builds no network ({reason})")


def _described(network: Any) -> dict[str, Any]:
    """What a network is made of beside its tensors; plain values."""
    if isinstance(network, GraphDetector):
        nodes = [
            {"name": n.name, "operation": n.operation, "inputs": n.inputs, "settings": _plain(n.settings)}
            for n in network.graph.nodes
        ]
        return {"detector": network.settings(), "outputs": network.graph.outputs, "nodes": nodes}
    family = family_of(network)
    if family is None:
        kind = type(network)
        return {CLASS: f"{kind.__module__}.{kind.__qualname__}"}
    return {"family": family, "detector": network.settings()}


def _build(content: Mapping[str, Any], tensors: Mapping[str, Tensor], make: Make | None) -> Any:
    """A network of the shapes that a description, or the tensors of its file, ask for."""
    if CLASS in content:
        assert make is not None
        whole = make().eval()
    elif "family" in content:
        whole = rebuilt(content["family"], content["detector"]).eval()
    else:
        made = _graph(content)
        made.check_raw()
        return made
    side = probe(whole)
    with torch.no_grad():
        before = [maps.shape for maps in tensors_of(whole(torch.zeros(1, 3, side, side)))]
        small = cut(whole, tensors)
        after = [maps.shape for maps in tensors_of(small(torch.zeros(1, 3, side, side)))]
    if after != before:
        raise ValueError(f"raw maps are {list(after[0])} where {list(before[0])} belongs")
    return small


def _graph(content: Mapping[str, Any]) -> GraphDetector:
    known = {IMAGES}
    nodes = []
    for entry in content["nodes"]:
        settings = {**EARLIER.get(entry["operation"], {}), **_arguments(entry["settings"])}
        node = Node(entry["name"], entry["operation"], tuple(entry["inputs"]), settings)
        if node.name in known:
            raise ValueError(f"{node.name} is there twice")
        if missing := set(node.inputs) - known:
            raise ValueError(f"{node.name} reads {', '.join(sorted(missing))}, which is not computed before it")
        if node.settings.keys() != set(OPERATIONS[node.operation].arguments):
            raise ValueError(f"{node.name} has the settings {sorted(node.settings)}")
        known.add(node.name)
        nodes.append(node)
    detector, outputs = content["detector"], list(content["outputs"])
    if not set(outputs) <= known or len(outputs) != len(detector["strides"]):
        raise ValueError(f"the raw maps {outputs} are not one for each stride of {detector['strides']}")
    return GraphDetector.from_settings(Graph(nodes, outputs), detector).eval()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: the value of padding is text."""
    return {key: str(value) if key == "value" else value for key, value in settings.items()}


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse, with tuples for the lists that JSON makes of them."""
    read = {key: float(value) if key == "value" else value for key, value in settings.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}
