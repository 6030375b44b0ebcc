"""Gives every masked layer its initial scores."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.hardening.attacked_images import attacked_images, on_device
from hydra_det.init import INITIALISERS
from hydra_det.init.base import Batches, Initialiser, InitialScores, Sample, choose
from hydra_det.modules.masked_conv import masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError

CLEAN = Sample(images=1, micro_batch=1)  # what an initialiser asks for that looks at no image


class ScoreInit(pl.Callback):
    """Sets the scores when a fit starts; the stage trains nothing.

    Args:
        initialiser: looks at the network, undisturbed, and at training images if it wants to.
        attack: of the images of an initialiser that asks for attacked ones.
        seed: of the attacks that draw.

    Attributes:
        facts: what the initialiser has to say of the scores, and the seconds that it took.
    """

    def __init__(self, initialiser: Initialiser, *, attack: Attack | None = None, seed: int = 0) -> None:
        self.initialiser = initialiser
        self.attack = attack
        self.seed = seed
        self.facts: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start = time.perf_counter()
        net = pl_module.get_submodule("net")
        found = set_scores(net, self.initialiser, lambda sample: self._batches(sample, trainer, pl_module))
        self.facts = {**found.facts, "seconds": round(time.perf_counter() - start, 3)}

    def _batches(self, sample: Sample, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterable[Batch]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for batch in data.sample_loader(sample.images, batch_size=sample.micro_batch):
            moved = data.transfer_batch_to_device(batch, pl_module.device, 0)
            net = pl_module.get_submodule("net")
            yield _as_asked(moved, sample, net=net, attack=self.attack, seed=self.seed)


def initial_scores(
    net: nn.Module,
    batches: Iterable[Batch] = (),
    init: str = "scaled",
    *,
    attack: Attack | None = None,
    seed: int = 0,
    **options: Any,
) -> InitialScores:
    """Give every masked layer of a network its initial scores, in place; all else of the network stays as it was.

    Args:
        net: with masked layers.
        batches: training images with what is in them; the first images, as many as the initialiser looks at, are read
            once and kept. `scaled`, `magnitude`, `random` and `synflow` look at none.
        init: a key of `hydra_det.init.INITIALISERS`, such as `scaled` or `deeplift`.
        attack: of the images, with `attacked=True`.
        seed: of an attack that draws.
        **options: of the initialiser, such as `target="loss"` or `images=32`.

    Returns:
        The scores by layer, in the shape of its weight, and what there is to say of them.

    Raises:
        InputError: no masked layer, no images where some are needed, or nothing but zeros.
    """
    if not masked_layers(net):
        raise InputError("net: expected masked layers, got none; call make_masked(net) first")
    if not isinstance(batches, Iterable):
        raise InputError(f"batches: expected images, as of data.sample_loader(64, batch_size=4), got {batches!r}")
    initialiser = choose("name", init, INITIALISERS)(**options)
    if attack is not None and not getattr(initialiser, "sample", CLEAN).attacked:
        raise InputError("attack: expected attacked=True beside it, got clean images; leave one out or give both")
    kept: dict[Sample, list[Batch]] = {}

    def sampled(sample: Sample) -> Iterator[Batch]:
        clean = dataclasses.replace(sample, attacked=False)  # an initialiser may ask again: for the same images
        if clean not in kept:
            kept[clean] = list(micro_batches(batches, images=sample.images, size=sample.micro_batch))
        for batch in kept[clean]:
            yield _as_asked(on_device(batch, net), sample, net=net, attack=attack, seed=seed)

    return set_scores(net, initialiser, sampled)


def set_scores(net: nn.Module, initialiser: Initialiser, batches: Batches) -> InitialScores:
    """Let an initialiser look at a network, undisturbed, and set the scores of its masked layers to what it finds."""
    layers = dict(masked_layers(net))
    _check_finite({name: layer.weight for name, layer in layers.items()}, what="weights")
    with undisturbed(net):
        found = initialiser(net, batches)
    _check_finite(found.layers, what="scores")
    if layers and not any(bool(found.layers[name].any()) for name in layers):
        raise InputError(f"init: expected scores, got zeros alone in all layers from {next(iter(layers))} on")
    with torch.no_grad():
        for name, layer in layers.items():
            layer.scores.copy_(found.layers[name].view_as(layer.scores))
    return found


def micro_batches(batches: Iterable[Batch], *, images: int, size: int) -> Iterator[Batch]:
    """The first images of some batches, `size` at a time; the last one may have fewer."""
    left = images
    for batch in batches:
        for first in range(0, min(left, len(batch["targets"])), size):
            last = min(first + size, left, len(batch["targets"]))
            yield Batch(images=batch["images"][first:last], targets=batch["targets"][first:last])
        left -= len(batch["targets"])
        if left <= 0:
            return


def _as_asked(batch: Batch, sample: Sample, *, net: nn.Module, attack: Attack | None, seed: int) -> Batch:
    """A batch as an initialiser wants to see it: clean, or attacked."""
    if not sample.attacked:
        return batch
    if attack is None:
        raise InputError("init.attacked: expected an attack, got none; give one, or attacked=False (deeplift_paper)")
    # Seeded by the first image, so that it does not matter which process has the batch.
    generator = torch.Generator().manual_seed(hash((seed, batch["targets"][0]["image_id"])) % 2**63)
    return Batch(images=attacked_images(net, batch, attack, generator=generator), targets=batch["targets"])


def _check_finite(layers: Mapping[str, Tensor], *, what: str) -> None:
    for name, values in layers.items():
        if count := int((~values.isfinite()).sum()):
            raise InputError(
                f"init: expected finite {what}, got {count} of {values.numel()} that are not in layer {name}; "
                "was the pretraining stable?"
            )
