"""Checkpoints that a stage goes on from exactly as if it had not been interrupted."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class StageCheckpoint(Checkpoint):
    """Saves at the end of every epoch, and within an epoch every few minutes.

    Within an epoch it saves where nothing is under way that a checkpoint does not hold, such as gradients that are
    being accumulated. A callback that keeps something from one batch to the next has it in its `state_dict`, or has a
    method `holds_back(trainer, batch_idx)` that says whether it does so now. Which batches of the epoch are done is in
    the state of the data loader.

    Args:
        path: of the file, which each checkpoint replaces.
        minutes: between two checkpoints within an epoch, at least.
    """

    def __init__(self, path: Path, *, minutes: float) -> None:
        self.path = path
        self.seconds = 60 * minutes
        self._saved = 0.0
        self._loaders: list[dict[str, Any]] = []

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning does this itself, but not where the optimiser asked for the number of steps before.
        loader: Any = trainer.train_dataloader
        for state in self._loaders:
            loader.load_state_dict(state)
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        held_back = any(part.holds_back(trainer, batch_idx) for part in callbacks if hasattr(part, "holds_back"))
        if accumulating or held_back or batch_idx + 1 >= trainer.num_training_batches:
            return
        # The first process decides, since saving is a meeting of all of them.
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self.seconds):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Have the hooks for the start of an epoch called where one is resumed in its middle.

        Lightning leaves them out there, and callbacks that set something for an epoch, as `Freeze` does, would not. It
        calls them where the loop had not yet started the epoch that it was ready for.
        """
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]
        if epochs["started"] == epochs["processed"] + 1:
            epochs["started"] = epochs["processed"]

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)  # with the state of the optimiser
        self._saved = time.monotonic()
