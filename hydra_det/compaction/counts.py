"""How much a network is: parameters, multiplications, bytes."""

import math

from torch import nn

from hydra_det.compaction.channels import map_sizes


def count_parameters(network: nn.Module) -> int:
    """Numbers that are learned; scores of masked layers are not."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.endswith(".scores"))


def weight_bytes(network: nn.Module) -> int:
    """Bytes that its parameters and BatchNorm statistics take in float32, zeros included, without scores and masks."""
    own = (t for name, t in network.state_dict().items() if not name.endswith((".scores", ".mask")))
    return sum(4 * tensor.numel() for tensor in own)


def count_flops(network: nn.Module, image_size: int) -> int:
    """Floating-point operations of the convolutions for one square image, two per multiplication.

    Zeros count: a mask alone leaves the number as it is. Biases, BatchNorm and activations are left out.
    """
    sizes = map_sizes(network, image_size)
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    return sum(2 * layer.weight.numel() * math.prod(sizes[name][1]) for name, layer in layers.items())
