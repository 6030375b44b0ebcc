"""A network of any class with fewer channels: its own modules, cut where they stand.

So it keeps its forward, its losses and its detections. Unlike a graph that is built anew, it keeps every layer too,
with one channel at least.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def cut(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Give convolutions and normalisations the shapes of others, in place; their values are to be loaded after that.

    Args:
        network: with layers at least as large.
        tensors: a state dict with all of its names.

    Raises:
        ValueError: a tensor does not fit, and which.
    """
    modules: dict[str, Any] = dict(network.named_modules())
    for name, module in modules.items():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.Conv2d):
            if f"{prefix}weight" in tensors:
                _cut_convolution(module, f"{prefix}weight", tensors[f"{prefix}weight"])
        elif isinstance(module, NORMS) and f"{prefix}running_mean" in tensors:
            count = len(tensors[f"{prefix}running_mean"])
            for key in ("weight", "bias", "running_mean", "running_var"):
                _shorten(module, key, count)
            if isinstance(module, nn.BatchNorm2d):
                module.num_features = count
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if odd := [name for name, shape in wanted.items() if name not in tensors or tensors[name].shape != shape]:
        found = list(tensors[odd[0]].shape) if odd[0] in tensors else "none"
        raise ValueError(f"{odd[0]} is {found} where {list(wanted[odd[0]])} belongs")
    return network


def _cut_convolution(layer: nn.Conv2d, name: str, weight: Tensor) -> None:
    outputs, inputs = weight.shape[:2]
    if layer.groups > 1:
        if (outputs * layer.groups) % layer.out_channels:
            raise ValueError(f"{name} has {outputs} filters, which are no whole number of its groups")
        layer.groups = outputs * layer.groups // layer.out_channels
    if not 0 < outputs <= layer.out_channels or not 0 < inputs * layer.groups <= layer.in_channels:
        raise ValueError(f"{name} is {list(weight.shape)}, more than {list(layer.weight.shape)}")
    layer.out_channels, layer.in_channels = outputs, inputs * layer.groups
    with torch.no_grad():
        layer.weight = nn.Parameter(layer.weight[:outputs, :inputs].clone(), layer.weight.requires_grad)
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias[:outputs].clone(), layer.bias.requires_grad)


def _shorten(module: nn.Module, key: str, count: int) -> None:
    """Keep the first values of a vector; which they are does not matter, as others are loaded."""
    values = getattr(module, key)
    if values is None:
        return
    kept = values.detach()[:count].clone()
    setattr(module, key, nn.Parameter(kept, values.requires_grad) if isinstance(values, nn.Parameter) else kept)
