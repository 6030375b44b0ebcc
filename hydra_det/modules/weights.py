"""Weights on disk: safetensors, checked key by key."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hydra_det.record import write_atomically
from hydra_det.types import InputError


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
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: expected a .safetensors file, cannot be read ({error}); is it truncated?") from error


def weights_hash(path: Path) -> str:
    """sha256 of the names, shapes and values in a safetensors file, or of the bytes of any other file."""
    digest = hashlib.sha256()
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    for name, tensor in sorted(read_weights(path).items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file into a network of the same architecture; the network is not touched when it does not fit."""
    found, expected = read_weights(path), network.state_dict()
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
            f"({example}); is this the file of another network?"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise InputError(
                f"{path}: expected {name} of shape {list(tensor.shape)}, found {list(found[name].shape)}; is this the "
                "file of a network of another width, or of other classes?"
            )
    network.load_state_dict(found)
