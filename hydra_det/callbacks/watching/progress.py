"""How far a stage is, and how good at its end: a bar on a terminal, one line per epoch in the log."""

import logging
import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities.rank_zero import rank_zero_only

log = logging.getLogger(__name__)

WORTH_SAYING = 0.1  # share of a step spent waiting for data
SHOWN = {"val/map_50": "AP50", "val/map_50_attacked": "attacked"}


class StageBar(RichProgressBar):
    """Lightning's bar with the time left; it goes when the stage ends, the epoch lines stay."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def say(self, text: str) -> None:
        """Put a text beside the bar of a test; Lightning shows numbers beside that of a training only."""
        if self.progress is not None and self.test_progress_bar_id is not None:
            self.progress.update(self.test_progress_bar_id, description=f"{self.test_description}  {text}")

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

    `train/data_wait`, the share of the training steps' time that was spent waiting for data, goes to the logger.

    Args:
        name: of the stage.

    Attributes:
        facts: `history`, a dict an epoch: its number `epoch`, its `seconds`, the last training losses and, of an epoch
            with a validation, AP, by the names of the logger without their first part (`loss_box`, `map_attacked`).
    """

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._start = 0.0
        self._validated = False
        self._waited = 0.0  # seconds, before this epoch
        self._stepped = 0.0  # when the last step ended; the epoch ends only after its validation

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = self._stepped = time.perf_counter()
        self._validated = False
        self._waited = _waited(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._stepped = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        waiting = (_waited(trainer) - self._waited) / max(self._stepped - self._start, 1e-9)
        pl_module.log("train/data_wait", waiting, rank_zero_only=True)
        seconds = time.perf_counter() - self._start
        done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        measured = [f"loss {float(trainer.callback_metrics['train/loss']):.2f}"]
        measured += [
            f"{shown} {float(trainer.callback_metrics[name]):.3f}"
            for name, shown in SHOWN.items()
            if self._validated and name in trainer.callback_metrics
        ]
        measured += [f"waiting for data {waiting:.0%}"] if waiting > WORTH_SAYING else []
        left = seconds * (epochs - done)
        self.facts.setdefault("history", []).append(
            {"epoch": done, "seconds": round(seconds, 2), **self._measured(trainer)}
        )
        times = f"{seconds:.0f} s, {left:.0f} s left" if done < epochs else f"{seconds:.0f} s"
        log.info("%s %d/%d  %s  %s", self.name, done, epochs, "  ".join(measured), times)

    def _measured(self, trainer: pl.Trainer) -> dict[str, float]:
        wanted = ("train/loss", "val/") if self._validated else ("train/loss",)
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(wanted)}
        return {name.partition("/")[2]: round(value, 5) for name, value in found.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """The epochs that are done."""
        return self.facts

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.facts = state_dict


def _waited(trainer: pl.Trainer) -> float:
    """Seconds that the training waited for data so far; 0 for a loader that does not count them."""
    return getattr(trainer.train_dataloader, "waited", 0.0)
