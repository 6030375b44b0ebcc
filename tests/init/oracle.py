"""Captum's DeepLIFT, taken to weights: what ours is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from captum.attr import DeepLift, LayerDeepLift
from torch import Tensor, nn


class Explained(nn.Module):
    """A network with one output, the sum of its raw maps times coefficients that are given once for every image."""

    def __init__(self, network: nn.Module, coefficients: Sequence[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.coefficients = coefficients

    def forward(self, images: Tensor) -> Tensor:
        """Captum sends the images and their references through at once. [2 * B, C, H, W] -> [2 * B, 1]"""
        levels = []
        for maps, counts in zip(self.network(images), self.coefficients, strict=True):
            levels.append((maps * counts.repeat(len(maps) // len(counts), 1, 1, 1, 1)).flatten(1).sum(1))
        return torch.stack(levels).sum(0)[:, None]


def one_pass(
    network: nn.Module,
    images: Tensor,
    reference: Tensor,
    coefficients: Sequence[Tensor],
    layers: Mapping[str, nn.Conv2d],
) -> dict[str, Tensor]:
    """Contributions of the weights of all layers: Captum's rules, with gradients to weights at its `gradient_func`."""
    weights = [layer.weight for layer in layers.values()]
    asked = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_()
    found: list[Tensor] = []

    def to_weights(forward: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs = forward()
        here, there = outputs.chunk(2)
        found.extend(torch.autograd.grad(here.sum() - there.sum(), weights))
        return tuple(torch.zeros_like(values) for values in inputs)

    method = DeepLift(Explained(network, coefficients))
    method.gradient_func = to_weights
    method.attribute(images, reference.expand_as(images), target=0)
    for weight, before in zip(weights, asked, strict=True):
        weight.requires_grad_(before)
    return {
        name: layer.weight.detach() * gradient for (name, layer), gradient in zip(layers.items(), found, strict=True)
    }


def of_channels(
    network: nn.Module, images: Tensor, reference: Tensor, coefficients: Sequence[Tensor], layer: nn.Conv2d
) -> Tensor:
    """What every output channel of a convolution contributes, by Captum's `LayerDeepLift`. [O]"""
    method = LayerDeepLift(Explained(network, coefficients), layer)
    outputs = method.attribute(images, reference.expand_as(images), target=0)
    return outputs.detach().sum((0, 2, 3))
