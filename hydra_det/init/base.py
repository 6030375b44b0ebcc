"""What every initialiser is: a masked network and training images in, a score per weight out.

Scores have the size that HYDRA's own initialisation gives them, so that one learning rate serves them all.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hydra_det.modules.masked_conv import masked_layers
from hydra_det.types import Batch, InputError

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Which training images an initialiser looks at, without augmentation.

    Attributes:
        images: how many, drawn from the training images; all where there are fewer.
        micro_batch: images a batch.
        attacked: as the attack of the run leaves them, or clean.
    """

    images: int
    micro_batch: int
    attacked: bool = False

    def __post_init__(self) -> None:
        for name in ("images", "micro_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"init.{name}: expected at least 1, got {getattr(self, name)}")


# The batches of a sample in this process; those of all processes together are the sample, the same at every call.
Batches = Callable[[Sample], Iterable[Batch]]


@dataclass(frozen=True)
class InitialScores:
    """The answer of an initialiser."""

    layers: dict[str, Tensor]  # by name of the masked layer, in the shape of its weight
    facts: dict[str, Any] = field(default_factory=dict)  # what the record should say of them; plain values


class Initialiser(Protocol):
    """How scores begin."""

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """Scores of every masked layer of a network in eval mode, which is left as it was."""
        ...


def score_bound(layer: nn.Conv2d) -> float:
    """sqrt(6 / fan_in): the largest |score| of a layer after the scaled initialisation."""
    return math.sqrt(6 / layer.weight[0].numel())


def scale_to_bound(values: Tensor, layer: nn.Conv2d) -> Tensor:
    """`values` times the factor that makes the largest absolute value `score_bound(layer)`; all zeros stay zeros."""
    largest = values.abs().max()
    return values * (score_bound(layer) / largest) if largest > 0 else torch.zeros_like(values)


def full_precision(network: nn.Module) -> nn.Module:
    """The network itself, or a float32 copy of one with weights of 16 bits."""
    halves = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in network.parameters())
    return copy.deepcopy(network).float() if halves else network


AGGREGATIONS = {
    "absolute": torch.abs,  # of every micro-batch: what weighs in one does not cancel what weighs in another
    "squared": torch.square,
    "signed": lambda values: values,  # the size of the whole sum
}


def choose(option: str, word: str, known: Mapping[str, T]) -> T:
    """The entry of a registry that an option names."""
    if word not in known:
        raise InputError(f"init.{option}: expected one of {', '.join(known)}, got {word!r}")
    return known[word]


class Tally:
    """Contributions of weights, summed over micro-batches and processes.

    Args:
        aggregate: of `AGGREGATIONS`: what is done to the contributions of a micro-batch before they are summed.
    """

    def __init__(self, aggregate: Callable[[Tensor], Tensor]) -> None:
        self.aggregate = aggregate
        self.sums: dict[str, Tensor] = {}
        self.images = 0
        self.seen = 0  # the same over all processes, known with the scores

    def add(self, contributions: Mapping[str, Tensor], *, images: int) -> None:
        """A micro-batch: a contribution for every weight of every layer, summed over its images."""
        self.images += images
        for name, values in contributions.items():
            summand = self.aggregate(values.detach())
            self.sums[name] = self.sums[name] + summand if name in self.sums else summand

    def scores(self, network: nn.Module) -> dict[str, Tensor]:
        """Size of the contributions in the mean over images, scaled to each layer's bound; the same in all processes.

        Raises:
            InputError: no images, a score that is not finite, or nothing but zeros.
        """
        layers = masked_layers(network)
        self.seen = int(total_over_processes(torch.tensor(self.images, device=layers[0][1].weight.device)))
        if not self.seen:
            raise InputError("init: expected training images with objects, got none; take more by init.images")
        scores, silent = {}, []
        for name, layer in layers:
            mine = self.sums[name] if name in self.sums else torch.zeros_like(layer.weight, dtype=torch.float32)
            mean = total_over_processes(mine).abs() / self.seen
            if count := int((~mean.isfinite()).sum()):
                raise InputError(
                    f"init: expected finite scores, got {count} of {mean.numel()} others in layer {name}; "
                    "are the weights finite, and was the pretraining stable?"
                )
            if not mean.any():
                silent.append(name)
            scores[name] = scale_to_bound(mean, layer).to(layer.weight.dtype)
        if len(silent) == len(layers):
            raise InputError("init: expected scores, got zeros alone; no weight changes what the network answers")
        if silent:
            log.warning("no weight of %s contributes: its scores are 0; more init.images may help", ", ".join(silent))
        return scores


def total_over_processes(values: Tensor) -> Tensor:
    """The sum over the processes of a distributed run; the values themselves elsewhere."""
    if dist.is_available() and dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values
