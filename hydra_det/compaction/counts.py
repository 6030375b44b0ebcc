"""How much a network is: parameters, multiplications, bytes."""

from typing import Any

from torch import nn

from hydra_det.compaction.sizes import positions


def count_parameters(network: nn.Module) -> int:
    """Numbers that are learned; scores of masked layers are not."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.endswith(".scores"))


def weight_bytes(network: nn.Module) -> int:
    """Bytes that its parameters and BatchNorm statistics take in float32, zeros included, without scores and masks."""
    own = (t for name, t in network.state_dict().items() if not name.endswith((".scores", ".mask")))
    return sum(4 * tensor.numel() for tensor in own)


def count_flops(network: nn.Module, image_size: int) -> int:
    """Floating-point operations of convolutions and linear layers for one square image, two per multiplication.

    Zeros count: a mask alone leaves the number as it is. Biases, BatchNorm and activations are left out.
    """
    layers: dict[str, Any] = dict(network.named_modules())
    return sum(2 * layers[name].weight.numel() * count for name, count in positions(network, image_size).items())
