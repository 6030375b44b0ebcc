"""How far a stage is, and how good at its end: a bar on a terminal, one line per epoch in the log."""

import logging
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities.rank_zero import rank_zero_only

log = logging.getLogger(__name__)

SHOWN = {"val/map_50": "AP50", "val/map_50_attacked": "AP50 attacked"}


class StageBar(RichProgressBar):
    """Lightning's bar with the time left; it goes when the stage ends, the epoch lines stay."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The loss, without the version of the logger."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class LastEpochValidation(pl.Callback):
    """Validates after the last epoch of a stage too, whatever `check_val_every_n_epoch` says."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class EpochLine(pl.Callback):
    """Logs the epoch, the last loss, the AP where it was measured, the time taken and the time left.

    Args:
        name: of the stage.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._start = 0.0
        self._validated = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seconds = time.perf_counter() - self._start
        done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        measured = [f"loss {float(trainer.callback_metrics['train/loss']):.2f}"]
        measured += [
            f"{shown} {float(trainer.callback_metrics[name]):.3f}"
            for name, shown in SHOWN.items()
            if self._validated and name in trainer.callback_metrics
        ]
        left = seconds * (epochs - done)
        log.info("%s %d/%d  %s  %.0f s, %.0f s left", self.name, done, epochs, "  ".join(measured), seconds, left)
