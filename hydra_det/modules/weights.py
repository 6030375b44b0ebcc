"""Weights on disk: safetensors, checked key by key.

A file of ours says besides which anchors and how many classes its network has. Weights look for objects of the sizes
that they were trained with: with other anchors they load, and find half as much.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hydra_det.files.atomic import write_atomically
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

log = logging.getLogger(__name__)

T = TypeVar("T")

ABOUT = "hydra_det"  # the entry of a file's metadata that is ours
SAME = 0.01  # pixels: anchors that differ by less are the same


class Trained(NamedTuple):
    """What weights were trained with."""

    anchors: list[list[float]]  # width and height in pixels of the network input, those of the finest level first
    num_classes: int


def save_weights(network: Any, path: Path) -> None:
    """Write the state of a network, scores and masks included where it has them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    anchors = getattr(network, "anchor_list", None)
    about = {} if anchors is None else {ABOUT: json.dumps({"anchors": anchors, "num_classes": network.num_classes})}
    # Not the library's own `save_file`: its files are private to the user (0600).
    write_atomically(path, save(tensors, metadata=about))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; nothing in it is executed."""
    return _read(path, load_file)


def trained_with(path: Path) -> Trained | None:
    """What a safetensors file says of the network that its weights were trained in; None where it says nothing."""
    said = _read(path, _metadata).get(ABOUT)
    if said is None:
        return None
    try:
        content = json.loads(said)
        anchors = [[round(float(width), 4), round(float(height), 4)] for width, height in content["anchors"]]
        return Trained(anchors, int(content["num_classes"]))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: expected anchors and classes in what it says of itself, got {said!r:.60}") from error


def same_anchors(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    """Whether two lists of anchors are the same, in the same order."""
    return len(one) == len(other) and all(
        abs(left - right) < SAME for a, b in zip(one, other, strict=True) for left, right in zip(a, b, strict=True)
    )


def other_anchors(what: object, trained: Sequence[Sequence[float]]) -> InputError:
    """The refusal of weights in a network of other anchors; `what` are the weights."""
    typed = json.dumps([list(anchor) for anchor in trained], separators=(",", ":"))
    return InputError(
        f"{what}: expected a network with the anchors that these weights were trained with, got one with others, which "
        f"look for objects of other sizes; give 'model.anchors={typed}'"
    )


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _read(path: Path, how: Callable[[Path], T]) -> T:
    if not path.is_file():
        raise InputError(f"{path}: expected a .safetensors file with weights, found none; check the path")
    try:
        path.open("rb").close()  # of a file that the system does not open the library says that it is not there
        return how(path)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if is_of_machine(error):
            raise
        reason = f"cannot be read ({str(error) or type(error).__name__:.200})"
        raise InputError(f"{path}: expected a .safetensors file, {reason}; is it truncated?") from error


def weights_hash(path: Path) -> str:
    """sha256 of the names, shapes and values in a safetensors file, or of the bytes of any other file."""
    digest = hashlib.sha256()
    if path.suffix != ".safetensors":
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            if is_of_machine(error):
                raise
            raise InputError(
                f"{path}: expected a file with weights, could not read it ({error.strerror}); check the path"
            ) from error
    for name, tensor in sorted(read_weights(path).items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file into a network of the same architecture; the network is not touched when it does not fit."""
    found = check_shapes(network, path)
    _check_anchors(network, path)
    network.load_state_dict(found)


def check_shapes(network: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors of a file, which are those of a network by name, shape and kind; it may be on the meta device."""
    found = read_weights(path)
    _check_names(network, found, path)
    for name, tensor in network.state_dict().items():
        if found[name].shape != tensor.shape:
            raise _misshapen(path, name, tensor, found[name])
    return found


def load_pretrained(network: nn.Module, path: Path) -> list[str]:
    """Load a file of other classes as well: then everything but the last convolution of each level is taken.

    Returns:
        The names of the tensors that were left out; empty if the file has as many classes as the network.
    """
    found, expected = read_weights(path), network.state_dict()
    _check_names(network, found, path)
    heads = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    ]
    of_heads = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    left_out = [name for name, tensor in expected.items() if found[name].shape != tensor.shape]
    for name in left_out:
        if name not in of_heads or found[name].shape[1:] != expected[name].shape[1:]:
            raise _misshapen(path, name, expected[name], found[name])
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: expected finite weights, found others in {name}; did that training diverge?")
    if not left_out:
        _check_anchors(network, path)
    network.load_state_dict({name: tensor for name, tensor in found.items() if name not in left_out}, strict=False)
    if left_out:
        log.warning("%s: of other classes than the network; left out: %s", path, ", ".join(left_out))
    return left_out


def _check_anchors(network: Any, path: Path) -> None:
    """Refuse weights that say they were trained with other anchors."""
    trained, mine = trained_with(path), getattr(network, "anchor_list", None)
    if trained is not None and mine is not None and not same_anchors(trained.anchors, mine):
        raise other_anchors(path, trained.anchors)


def _check_names(network: nn.Module, found: Mapping[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if unknown and not missing and all(name.endswith((".scores", ".mask")) for name in unknown):
        raise InputError(
            f"{path}: expected the weights of a dense network, found those of a masked one; take the file of the stage "
            "pretrain instead"
        )
    if missing or unknown:
        example = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not expected"
        raise InputError(
            f"{path}: expected the {len(expected)} tensors of {type(network).__name__}, found {len(found)} "
            f"({example:.200}); is this the file of another network?"
        )
    for name, tensor in expected.items():
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise InputError(
                f"{path}: expected {name} in {tensor.dtype}, found {found[name].dtype}; is this another program's file?"
            )


def _misshapen(path: Path, name: str, expected: Tensor, found: Tensor) -> InputError:
    return InputError(
        f"{path}: expected {name} of shape {list(expected.shape)}, found {list(found.shape)}; is this the file of a "
        "network of another width, or of other classes?"
    )
