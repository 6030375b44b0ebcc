"""Convolutions and linear layers with a score per weight and a mask, for any network, in place and back.

HYDRA (arXiv 2002.10509): forward uses `weight * mask`, backward passes the mask straight through to the scores. Unlike
HYDRA's own layer this one never sorts: the mask is a buffer that somebody else refreshes (once per optimiser step), so
the forward passes of an attack cost no more than those of a dense network.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_det.pruning.sparsity import SparsityCount, count_sparsity
from hydra_det.types import InputError


class _StraightThrough(torch.autograd.Function):
    """Forward the mask, backward the identity to |score|, for kept and for pruned weights."""

    @staticmethod
    def forward(ctx: Any, importance: Tensor, mask: Tensor) -> Tensor:
        return mask.to(importance.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class MaskedLayer(nn.Module):
    """What masked layers share: they compute with `weight * mask`.

    Attributes:
        weight: of the layer.
        scores: Parameter [O, I/groups, kH, kW], the importance of each weight is |score|. Its gradient is
            `d(weight * mask) * weight * sign(score)`. This holds for masks of kernels too: the step that it makes in
            the mean |score| of a kernel is the one that the chain rule through the mean would make.
        mask: boolean buffer of the same shape, True where a weight stays.
    """

    weight: nn.Parameter
    bias: Any  # a Parameter, or None
    scores: nn.Parameter
    mask: Tensor
    _folded: Tensor | None = None  # the effective weight while it is held, see `folded`

    def effective_weight(self) -> Tensor:
        """`weight * mask`, with a gradient to the scores where they ask for one. In the shape of the weight"""
        if self._folded is not None:
            return self._folded
        if self.scores.requires_grad and torch.is_grad_enabled():
            kept: Tensor = _StraightThrough.apply(self.scores.abs(), self.mask)
            return self.weight * kept.view_as(self.weight)
        return self.weight * self.mask.view_as(self.weight)


class MaskedConv2d(MaskedLayer, nn.Conv2d):
    """A masked convolution."""

    weight: nn.Parameter
    bias: Any

    def forward(self, images: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']"""
        return self._conv_forward(images, self.effective_weight(), self.bias)


class MaskedLinear(MaskedLayer, nn.Linear):
    """A masked linear layer. Scores and mask are those of the same layer as a convolution: [O, I, 1, 1]."""

    weight: nn.Parameter
    bias: Any

    def forward(self, values: Tensor) -> Tensor:
        """[..., I] -> [..., O]"""
        return F.linear(values, self.effective_weight(), self.bias)


MASKED: dict[type[nn.Module], type[MaskedLayer]] = {nn.Conv2d: MaskedConv2d, nn.Linear: MaskedLinear}
DENSE = {masked: dense for dense, masked in MASKED.items()}


def make_masked(network: nn.Module, *, exclude: Iterable[str] = ()) -> nn.Module:
    """Turn every plain convolution and linear layer of `network` into a masked one, in place; weights and keys stay.

    Scores start at 0 and masks keep everything. A layer is left alone when its name starts with one of `exclude`.
    """
    excluded = tuple(exclude)
    layers: dict[str, Any] = {name: module for name, module in network.named_modules() if type(module) in MASKED}
    for prefix in excluded:
        if not any(name.startswith(prefix) for name in layers):
            raise InputError(
                f"prune.exclude: expected the start of a layer's name, got {prefix!r}; the names start with "
                + ", ".join(dict.fromkeys(name.split(".")[0] for name in layers))
            )
    if excluded and all(name.startswith(excluded) for name in layers):
        raise InputError(f"prune.exclude: expected a layer that can be pruned, got {list(excluded)}, which are all")
    for name, module in layers.items():
        if not name.startswith(excluded):
            # Changing the class keeps the module's identity, hooks and state-dict keys.
            module.__class__ = MASKED[type(module)]
            start = torch.zeros_like(module.weight)
            start = start if start.ndim == 4 else start[..., None, None]
            module.register_parameter("scores", nn.Parameter(start))
            module.register_buffer("mask", torch.ones_like(start, dtype=torch.bool))
    return network


def make_dense(network: nn.Module) -> nn.Module:
    """The inverse of `make_masked`, in place: pruned weights become 0, scores and masks go."""
    for _, layer in masked_layers(network):
        with torch.no_grad():
            layer.weight.mul_(layer.mask.view_as(layer.weight))
        del layer.scores, layer.mask
        layer.__class__ = DENSE[type(layer)]  # type: ignore[assignment]
    return network


@contextmanager
def folded(network: nn.Module) -> Iterator[nn.Module]:
    """Inside, masked layers compute with weights that were masked once: for many forward passes of one state.

    Neither weights nor scores get gradients, and changes of them or of masks are not seen until the end.
    """
    layers = [layer for _, layer in masked_layers(network)]
    try:
        for layer in layers:
            layer._folded = (layer.weight * layer.mask.view_as(layer.weight)).detach()
        yield network
    finally:
        for layer in layers:
            layer._folded = None


def masked_layers(network: nn.Module) -> list[tuple[str, MaskedLayer]]:
    """The masked layers of a network with their names, in the order of the network."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, MaskedLayer)]


def masks_of(network: nn.Module) -> dict[str, Tensor]:
    """Layer name -> boolean mask."""
    return {name: layer.mask for name, layer in masked_layers(network)}


def sparsity(network: nn.Module) -> SparsityCount:
    """How many weights the masks of a network keep, in total and by layer; biases and BatchNorm are left out.

    Raises:
        InputError: no layer is masked.
    """
    masks = masks_of(network)
    if not masks:
        raise InputError("net: expected masked layers, got none; call make_masked(net) first")
    return count_sparsity(masks)
