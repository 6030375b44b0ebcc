"""Convolutions with a score per weight and a mask, for any network, in place and back.

HYDRA (arXiv 2002.10509): forward uses `weight * mask`, backward passes the mask straight through to the scores. Unlike
HYDRA's own layer this one never sorts: the mask is a buffer that somebody else refreshes (once per optimiser step), so
the forward passes of an attack cost no more than those of a dense network.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
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


class MaskedConv2d(nn.Conv2d):
    """A convolution that computes with `weight * mask`.

    Attributes:
        scores: Parameter [O, I/groups, kH, kW], the importance of each weight is |score|. Its gradient is
            `d(weight * mask) * weight * sign(score)`. This holds for masks of kernels too: the step that it makes in
            the mean |score| of a kernel is the one that the chain rule through the mean would make.
        mask: boolean buffer of the same shape, True where a weight stays.
    """

    scores: nn.Parameter
    mask: Tensor
    _folded: Tensor | None = None  # the effective weight while it is held, see `folded`

    def forward(self, images: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']"""
        return self._conv_forward(images, self.effective_weight(), self.bias)

    def effective_weight(self) -> Tensor:
        """`weight * mask`, with a gradient to the scores where they ask for one. [O, I/groups, kH, kW]"""
        if self._folded is not None:
            return self._folded
        if self.scores.requires_grad and torch.is_grad_enabled():
            return self.weight * _StraightThrough.apply(self.scores.abs(), self.mask)
        return self.weight * self.mask


def make_masked(network: nn.Module, *, exclude: Iterable[str] = ()) -> nn.Module:
    """Turn every plain convolution of `network` into a `MaskedConv2d`, in place; weights and keys stay.

    Scores start at 0 and masks keep everything. A layer is left alone when its name starts with one of `exclude`.
    """
    excluded = tuple(exclude)
    convolutions = {name: module for name, module in network.named_modules() if type(module) is nn.Conv2d}
    for prefix in excluded:
        if not any(name.startswith(prefix) for name in convolutions):
            raise InputError(
                f"prune.exclude: expected the start of a layer's name, got {prefix!r}; the names start with "
                + ", ".join(dict.fromkeys(name.split(".")[0] for name in convolutions))
            )
    if excluded and all(name.startswith(excluded) for name in convolutions):
        raise InputError(f"prune.exclude: expected a layer that can be pruned, got {list(excluded)}, which are all")
    for name, module in convolutions.items():
        if not name.startswith(excluded):
            # Changing the class keeps the module's identity, hooks and state-dict keys.
            module.__class__ = MaskedConv2d
            module.register_parameter("scores", nn.Parameter(torch.zeros_like(module.weight)))
            module.register_buffer("mask", torch.ones_like(module.weight, dtype=torch.bool))
    return network


def make_dense(network: nn.Module) -> nn.Module:
    """The inverse of `make_masked`, in place: pruned weights become 0, scores and masks go."""
    for _, layer in masked_layers(network):
        with torch.no_grad():
            layer.weight.mul_(layer.mask)
        del layer.scores, layer.mask
        layer.__class__ = nn.Conv2d  # type: ignore[assignment]
    return network


@contextmanager
def folded(network: nn.Module) -> Iterator[nn.Module]:
    """Inside, masked convolutions compute with weights that were masked once: for many forward passes of one state.

    Neither weights nor scores get gradients, and changes of them or of masks are not seen until the end.
    """
    layers = [layer for _, layer in masked_layers(network)]
    try:
        for layer in layers:
            layer._folded = (layer.weight * layer.mask).detach()
        yield network
    finally:
        for layer in layers:
            layer._folded = None


def masked_layers(network: nn.Module) -> list[tuple[str, MaskedConv2d]]:
    """The masked layers of a network with their names, in the order of the network."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, MaskedConv2d)]


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
