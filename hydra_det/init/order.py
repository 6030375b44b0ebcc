"""From what was found of the weights of a layer to the order of its scores: as it is, by channel, beside |weight|."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hydra_det.modules.masked_conv import MaskedLayer

Layer = nn.Conv2d | nn.Linear | MaskedLayer


def as_found(values: Tensor, _layer: Layer) -> Tensor:
    """Nothing is changed."""
    return values


def by_channel(values: Tensor, layer: Layer) -> Tensor:
    """Each value as a share of its output channel plus as a share of its input channel, so that none is starved.

    The relative importance of RIA (Zhang et al. 2024, ICLR, "Plug-and-Play"), there of |weight|. A channel of zeros
    stays one.

    Args:
        values: [O, I / groups, kH, kW], not negative.
        layer: that they belong to.
    """
    kernels = values if values.ndim == 4 else values[..., None, None]  # those of a linear layer are single weights
    grouped = kernels.unflatten(0, (getattr(layer, "groups", 1), -1))  # [G, O / G, I / G, kH, kW]
    outputs, inputs = (grouped.sum(axes, keepdim=True) for axes in ((2, 3, 4), (1, 3, 4)))
    tiny = torch.finfo(values.dtype).tiny
    return (grouped / outputs.clamp_min(tiny) + grouped / inputs.clamp_min(tiny)).view_as(values)


NORMALISATIONS: dict[str, Callable[[Tensor, Layer], Tensor]] = {"none": as_found, "channels": by_channel}


def alone(values: Tensor, _weights: Tensor, _share: float) -> Tensor:
    """The weights have no say."""
    return values


def mean_rank(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """The mean of both ranks within the layer, each from 1 / n to 1, the first one counted `share`."""
    return share * ranks(values, weights) + (1 - share) * ranks(weights, weights)


def product(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """The geometric mean, the first one counted `share`."""
    return values**share * weights ** (1 - share)


# Of `values` and |weight|, both not negative and of one shape, and the share of the first: what orders the scores.
BLENDS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"none": alone, "rank": mean_rank, "product": product}


def ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Place of every value in the order of all, from 1 / n for the least to 1; of equal ones by the weight."""
    order = order_of(values, weights)
    places = torch.arange(1, len(order) + 1, device=values.device, dtype=values.dtype) / len(order)
    return torch.empty_like(places).scatter_(0, order, places).view_as(values)


def order_of(values: Tensor, weights: Tensor) -> Tensor:
    """Indices of all values, flattened, the least first; of equal ones that of the smaller weight first."""
    order = weights.flatten().argsort(stable=True)
    return order[values.flatten()[order].argsort(stable=True)]
