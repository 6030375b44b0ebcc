"""Weights on disk: safetensors, checked key by key."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hydra_det.files.atomic import write_atomically
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

log = logging.getLogger(__name__)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state of a network, scores and masks included where it has them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # Not the library's own `save_file`: its files are private to the user (0600).
    write_atomically(path, save(tensors))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; nothing in it is executed."""
    if not path.is_file():
        raise InputError(f"{path}: expected a .safetensors file with weights, found none; check the path")
    try:
        path.open("rb").close()  # of a file that the system does not open the library says that it is not there
        return load_file(path)
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
    network.load_state_dict(check_shapes(network, path))


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
    heads = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d) and layer.bias is not None]
    of_heads = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    left_out = [name for name, tensor in expected.items() if found[name].shape != tensor.shape]
    for name in left_out:
        if name not in of_heads or found[name].shape[1:] != expected[name].shape[1:]:
            raise _misshapen(path, name, expected[name], found[name])
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: expected finite weights, found others in {name}; did that training diverge?")
    network.load_state_dict({name: tensor for name, tensor in found.items() if name not in left_out}, strict=False)
    if left_out:
        log.warning("%s: of other classes than the network; left out: %s", path, ", ".join(left_out))
    return left_out


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
