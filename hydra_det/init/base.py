"""What every initialiser is: a masked network and training images in, a score per weight out.

The largest score of a layer is that of HYDRA's own initialisation, except where an initialiser says otherwise.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hydra_det.init.order import BLENDS, NORMALISATIONS, Layer, order_of
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
        check_count(images=self.images, micro_batch=self.micro_batch)
        if not isinstance(self.attacked, bool):
            raise InputError(f"init.attacked: expected true or false, got {self.attacked!r}")


# The batches of a sample in this process; those of all processes together are the sample, the same at every call.
Batches = Callable[[Sample], Iterable[Batch]]


@dataclass(frozen=True)
class InitialScores:
    """The answer of an initialiser."""

    layers: dict[str, Tensor]  # by name of the masked layer, in the shape of its weight
    facts: dict[str, Any] = field(default_factory=dict)  # what the record should say of them; plain values

    def __repr__(self) -> str:
        count = sum(scores.numel() for scores in self.layers.values())
        return f"InitialScores({count} scores in {len(self.layers)} layers, facts={self.facts})"


class Initialiser(Protocol):
    """How scores begin."""

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """Scores of every masked layer of a network in eval mode, which is left as it was."""
        ...


def score_bound(layer: Layer) -> float:
    """sqrt(6 / fan_in): the largest |score| of a layer after the scaled initialisation."""
    return math.sqrt(6 / layer.weight[0].numel())


def scale_to_bound(values: Tensor, layer: Layer) -> Tensor:
    """`values` times the factor that makes the largest absolute value `score_bound(layer)`; all zeros stay zeros."""
    largest = values.abs().max()
    return values * (score_bound(layer) / largest) if largest > 0 else torch.zeros_like(values)


def sizes_of_weights(values: Tensor, layer: Layer) -> Tensor:
    """The sizes of the scaled initialisation in the order of `values`; of equal values that of the larger weight first.

    Contributions are heavy-tailed: scaled by their largest one most of them nearly vanish, and the first steps of an
    optimiser that moves all scores alike, as Adam does, undo their order. Weights are spread more evenly.
    """
    weights = layer.weight.detach().abs().flatten().to(values.dtype)
    order = order_of(values.abs(), weights)
    return scale_to_bound(torch.empty_like(weights).scatter_(0, order, weights.sort().values), layer).view_as(values)


# How large the scores of a layer are: as large as what they were made from, or as large as its weights.
SIZES = {"contributions": scale_to_bound, "weights": sizes_of_weights}


def full_precision(network: nn.Module) -> nn.Module:
    """The network itself, or a float32 copy of one with weights of 16 bits."""
    halves = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in network.parameters())
    return copy.deepcopy(network).float() if halves else network


AGGREGATIONS = {
    "absolute": torch.abs,  # of every micro-batch: what weighs in one does not cancel what weighs in another
    "squared": torch.square,
    "signed": lambda values: values,  # the size of the whole sum
}


def check_count(**options: int) -> None:
    """Refuse an option that is not a whole number of at least 1."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"init.{name}: expected a whole number of at least 1, got {value!r}")


def choose(option: str, word: str, known: Mapping[str, T]) -> T:
    """The entry of a registry that an option names."""
    if word not in known:
        raise InputError(f"init.{option}: expected one of {', '.join(known)}, got {word!r}")
    return known[word]


def _share(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(f"init.blend_share: expected a share between 0 and 1, got {value!r}")
    return value


class FromImages:
    """What initialisers share that add up contributions over micro-batches.

    Args:
        aggregation: of micro-batches: `absolute`, `squared` or `signed`.
        normalise: `none`, or `channels`: contributions count as shares of their output and of their input channel.
        blend: with |weight|: `none`, `rank`, the mean of both ranks in the layer, or `product`, the geometric mean.
        blend_share: of the contributions in a blend; the rest is that of |weight|.
        sizes: of the scores: `contributions`, scaled to sqrt(6 / fan_in), or `weights`, those of the scaled
            initialisation in the order of the contributions.
        images: training images looked at.
        micro_batch: images a pass. What their contributions have of both signs cancels within a micro-batch.
        attacked: look at attacked images instead of clean ones.
    """

    def __init__(
        self,
        *,
        aggregation: str = "absolute",
        normalise: str = "none",
        blend: str = "none",
        blend_share: float = 0.5,
        sizes: str = "contributions",
        images: int = 64,
        micro_batch: int = 4,
        attacked: bool = False,
    ) -> None:
        self.aggregate = choose("aggregation", aggregation, AGGREGATIONS)
        self.normalise = choose("normalise", normalise, NORMALISATIONS)
        self.blend = choose("blend", blend, BLENDS)
        self.blend_share = _share(blend_share)
        self.sizes = choose("sizes", sizes, SIZES)
        self.sample = Sample(images=images, micro_batch=micro_batch, attacked=attacked)
        self.facts: dict[str, Any] = {"aggregation": aggregation, "sizes": sizes, **asdict(self.sample)}
        self.facts |= {"normalise": normalise, "blend": blend}
        if blend != "none":
            self.facts["blend_share"] = blend_share

    def finish(self, tally: "Tally", network: nn.Module, **facts: Any) -> InitialScores:
        """The scores of a network, the same in all processes.

        Raises:
            InputError: no images, or nothing but zeros.
        """
        seen, means = tally.means(network)
        if not seen:
            raise InputError("init: expected training images with objects, got none; take more by init.images")
        scores, silent = {}, []
        for name, layer in masked_layers(network):
            mean = means[name]
            weights = layer.weight.detach().abs().to(mean.dtype)
            if not mean.any():
                silent.append(name)
                scores[name] = scale_to_bound(weights, layer).to(layer.weight.dtype)  # zeros could not even learn
                continue
            # Beside |weight| a square would count twice.
            plain = mean.sqrt() if self.facts["aggregation"] == "squared" and self.facts["blend"] != "none" else mean
            found = self.blend(self.normalise(plain, layer), weights, self.blend_share)
            scores[name] = self.sizes(found, layer).to(layer.weight.dtype)
        if len(silent) == len(scores):
            raise InputError("init: expected scores, got zeros alone; no weight changes what the network answers")
        if silent:
            log.warning(
                "no weight of %s contributes to the target: its scores begin as those of |weight|; take more "
                "init.images, or another init.target",
                ", ".join(silent),
            )
        return InitialScores(scores, {**self.facts, "images": seen, **facts})


class Tally:
    """Contributions of weights, summed over micro-batches and processes.

    Args:
        aggregate: of `AGGREGATIONS`: what is done to the contributions of a micro-batch before they are summed.
    """

    def __init__(self, aggregate: Callable[[Tensor], Tensor]) -> None:
        self.aggregate = aggregate
        self.sums: dict[str, Tensor] = {}
        self.images = 0

    def add(self, contributions: Mapping[str, Tensor], *, images: int) -> None:
        """A micro-batch: a contribution for every weight of every layer, summed over its images."""
        self.images += images
        for name, values in contributions.items():
            summand = self.aggregate(values.detach())
            self.sums[name] = self.sums[name] + summand if name in self.sums else summand

    def means(self, network: nn.Module) -> tuple[int, dict[str, Tensor]]:
        """The number of images, and the size of the mean over them for every masked layer; the same in all processes.

        A process without any micro-batch of its own, and a layer that nobody reached, count as zeros.
        """
        layers = masked_layers(network)
        device = layers[0][1].weight.device
        images = int(total_over_processes(torch.tensor(self.images, device=device)))
        sums = {}
        for name, layer in layers:
            exact = torch.promote_types(layer.weight.dtype, torch.float32)
            mine = self.sums[name] if name in self.sums else torch.zeros_like(layer.weight, dtype=exact)
            sums[name] = total_over_processes(mine.to(exact).contiguous())
        return images, {name: total.abs() / max(1, images) for name, total in sums.items()}


def total_over_processes(values: Tensor) -> Tensor:
    """The sum over the processes of a distributed run; the values themselves elsewhere."""
    if dist.is_available() and dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values
