"""Gives every masked layer its initial scores."""

from collections.abc import Callable, Iterable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.modules.masked_conv import masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch

Initialiser = Callable[[nn.Module, Callable[[], Iterable[Batch]]], dict[str, Tensor]]


class ScoreInit(pl.Callback):
    """Sets the scores when a fit starts; the stage trains nothing.

    Args:
        initialiser: looks at the network, undisturbed, and at training batches if it wants to.
    """

    def __init__(self, initialiser: Initialiser) -> None:
        self.initialiser = initialiser

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        layers = dict(masked_layers(pl_module.get_submodule("net")))
        with undisturbed(pl_module.get_submodule("net")) as net:
            scores = self.initialiser(net, lambda: _batches(trainer, pl_module))
        with torch.no_grad():
            for name, layer in layers.items():
                layer.scores.copy_(scores[name])


def _batches(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterable[Batch]:
    for batch in trainer.datamodule.train_dataloader():  # type: ignore[attr-defined]
        yield pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
