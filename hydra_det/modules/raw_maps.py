"""Raw maps of any make: a tensor, or lists, tuples and dictionaries of tensors, nested as a network likes."""

from collections.abc import Sequence
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn


def tensors_of(raw: Any) -> list[Tensor]:
    """The tensors of raw maps, in their order.

    Example:
        >>> import torch
        >>> [len(maps) for maps in tensors_of({"heat": torch.zeros(1), "boxes": (torch.zeros(2), torch.zeros(3))})]
        [1, 2, 3]
    """
    found: list[Tensor] = []
    apply_to_collection(raw, Tensor, found.append)
    return found


def filled(raw: Any, tensors: Sequence[Tensor]) -> Any:
    """Raw maps of the same make, with other tensors, in the order of `tensors_of`."""
    left = iter(tensors)
    return apply_to_collection(raw, Tensor, lambda _: next(left))


def detached(raw: Any) -> Any:
    """Raw maps of the same make, cut off from what made them."""
    return apply_to_collection(raw, Tensor, Tensor.detach)


def shapes(raw: Any) -> Any:
    """The make of raw maps: the shape of every tensor in its place."""
    return apply_to_collection(raw, Tensor, lambda maps: tuple(maps.shape))


class FlatOutputs(nn.Module):
    """A network whose raw maps are a list of tensors, as the files of other runtimes have them.

    Args:
        network: with raw maps of any make.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> `tensors_of` the raw maps"""
        return tensors_of(self.network(images))
