"""What a stage learns and what it holds."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import nn

from hydra_det.modules.masked_conv import MaskedLayer
from hydra_det.types import InputError

PARTS = ("weights", "batch_norm", "scores")


class Freeze(pl.Callback):
    """Lets only the named parts learn.

    A frozen BatchNorm is frozen whole: scale, shift *and* running statistics.

    Args:
        train: of `weights` (convolution weights and biases), `batch_norm` and `scores` those that learn.
    """

    def __init__(self, *, train: Sequence[str]) -> None:
        unknown = [part for part in train if part not in PARTS]
        if unknown:
            raise InputError(f"freeze.train: expected some of {', '.join(PARTS)}, got {unknown[0]!r}")
        self.train = tuple(train)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for part, parameter in _parts(pl_module):
            parameter.requires_grad_(part in self.train)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if "batch_norm" not in self.train:
            for module in pl_module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


def _parts(network: nn.Module) -> list[tuple[str, Any]]:
    answer = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                part = "batch_norm"
            elif isinstance(module, MaskedLayer) and parameter is module.scores:
                part = "scores"
            else:
                part = "weights"
            answer.append((part, parameter))
    return answer
