"""A compact network on disk: `architecture.json`, which says what it computes, and `weights.safetensors`.

Both are plain data: nothing is executed when they are read, and neither the config nor the class that the network came
from is needed. A network of a class of somebody else's is the exception: its file holds the config of the model, and
whoever reads it says how such a network is made.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
Make = Callable[[Mapping[str, Any]], nn.Module]  # from the config of a model, with random weights
OWN = "own"  # the key of that config
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


class MadeBy(NamedTuple):
    """How a network is made whose class is none of hydra_det's."""

    model: Mapping[str, Any]  # its config
    make: Make


def save_compact(
    folder: Path, network: Any, about: Mapping[str, Any], *, model: Mapping[str, Any] | None = None
) -> None:
    """Write a network into a folder.

    Args:
        folder: is made.
        network: what `compact` returns.
        about: plain values that go with it, such as the names of the classes and the size of the input.
        model: the config that makes the whole network; needed where its class is none of hydra_det's.

    Raises:
        InputError: it is of another class, and there is no config.
    """
    described = _described(network, model)
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
        make: makes a network of somebody else's class, which it trusts.

    Raises:
        InputError: the folder holds no compact network of this version, or not all of its tensors, or it is of a class
            that nobody makes.
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
    if OWN in content and make is None:
        raise InputError(
            f"{file}: expected a network of hydra_det's own classes, got one of another; open it from the folder of "
            "its run, with trust= and the name of the class"
        )
    cut_from = OWN in content or "family" in content
    tensors = read_weights(Path(folder) / WEIGHTS) if cut_from else {}
    try:
        # Shapes first: a number too many in the description may ask for more memory than there is.
        with torch.device("cpu" if OWN in content else "meta"):  # where another's constructor may compute
            planned = _build(content, tensors, make)
    except _NO_NETWORK as error:
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


def _described(network: Any, model: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a network is made of beside its tensors; plain values."""
    if isinstance(network, GraphDetector):
        nodes = [
            {"name": n.name, "operation": n.operation, "inputs": n.inputs, "settings": _plain(n.settings)}
            for n in network.graph.nodes
        ]
        return {"detector": network.settings(), "outputs": network.graph.outputs, "nodes": nodes}
    family = family_of(network)
    if family is None and model is not None:
        return {OWN: dict(model)}
    if family is None:
        raise InputError(
            f"compaction: expected a detector of hydra_det, whose files can be read without its class, got "
            f"{type(network).__name__}; hydra_det.compact(net) makes it small in your own program"
        )
    return {"family": family, "detector": network.settings()}


def _build(content: Mapping[str, Any], tensors: Mapping[str, Tensor], make: Make | None) -> Any:
    """A network of the shapes that a description, or the tensors of its file, ask for."""
    if OWN in content:
        assert make is not None
        whole = make(content[OWN]).eval()
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
