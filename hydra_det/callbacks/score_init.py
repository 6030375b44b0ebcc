"""Gives every masked layer its initial scores."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.init.base import Initialiser, Sample
from hydra_det.modules.masked_conv import masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError


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
        layers = dict(masked_layers(pl_module.get_submodule("net")))
        _check_finite({name: layer.weight for name, layer in layers.items()}, what="weights")
        start = time.perf_counter()
        with undisturbed(pl_module.get_submodule("net")) as net:
            found = self.initialiser(net, lambda sample: self._batches(sample, trainer, pl_module))
        _check_finite(found.layers, what="scores")
        if layers and not any(bool(found.layers[name].any()) for name in layers):
            raise InputError(f"init: expected scores, got zeros alone in all layers from {next(iter(layers))} on")
        with torch.no_grad():
            for name, layer in layers.items():
                layer.scores.copy_(found.layers[name])
        self.facts = {**found.facts, "seconds": round(time.perf_counter() - start, 3)}

    def _batches(self, sample: Sample, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterable[Batch]:
        if sample.attacked and self.attack is None:
            raise InputError("init.attacked: expected an attack, got none")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for batch in data.sample_loader(sample.images, batch_size=sample.micro_batch):
            moved = data.transfer_batch_to_device(batch, pl_module.device, 0)
            if sample.attacked and self.attack is not None:
                # By the first image: the same draw in whichever process the batch is.
                draw = hash((self.seed, batch["targets"][0]["image_id"])) % 2**63
                generator = torch.Generator().manual_seed(draw)
                moved["images"] = attacked_images(pl_module.net, moved, self.attack, generator=generator)
            yield moved


def _check_finite(layers: Mapping[str, Tensor], *, what: str) -> None:
    for name, values in layers.items():
        if count := int((~values.isfinite()).sum()):
            raise InputError(
                f"init: expected finite {what}, got {count} of {values.numel()} that are not in layer {name}; "
                "was the pretraining stable?"
            )
