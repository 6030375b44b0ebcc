"""How large the maps of a network are, and how often its layers are applied."""

from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.modules.undisturbed import undisturbed

COLOURS = 3
PROBE = 64  # side of the image that places are counted on, a multiple of every stride


def probe(network: Any) -> int:
    """Side in pixels of a small image that a network takes."""
    return max(PROBE, getattr(network, "least_side", PROBE))


def positions(network: Any, image_size: int) -> dict[str, int]:
    """How often every convolution and linear layer is applied to a square image of zeros, over all places and uses.

    A part of the network that its forward does not run, as one that looks at proposals, counts by what its
    `applied_beside` says, or else by what it does for its detections.
    """
    found: dict[str, int] = {}

    def watch(name: str, channels: int) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = found.get(name, 0) + output.numel() // channels

        return hook

    layers: dict[str, Any] = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    hooks = [module.register_forward_hook(watch(name, len(module.weight))) for name, module in layers.items()]
    try:
        with undisturbed(network), torch.no_grad():
            raw = network(next(network.parameters()).new_zeros(1, COLOURS, image_size, image_size))
            if hasattr(network, "applied_beside"):
                found |= network.applied_beside()
            elif layers.keys() - found.keys() and hasattr(network, "detections"):
                network.detections(raw)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found.get(name, 0) for name in layers}


def map_sizes(network: nn.Module, image_size: int) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Height and width of what every convolution reads and of what it writes, for a square image."""
    found: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            (height, width), (rows, columns) = inputs[0].shape[2:], output.shape[2:]
            found[name] = ((height, width), (rows, columns))

        return hook

    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
    try:
        weight = next(iter(layers.values())).weight
        with undisturbed(network), torch.no_grad():
            network(weight.new_zeros(1, COLOURS, image_size, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return found
