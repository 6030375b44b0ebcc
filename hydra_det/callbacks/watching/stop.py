"""Ends a run between two batches where it was told to stop and what was raised then got lost."""

from typing import Any

import pytorch_lightning as pl

from hydra_det.process.interrupts import stop_if_asked


class Stop(pl.Callback):
    """Looks before every batch."""

    def on_train_batch_start(self, *_: Any) -> None:
        stop_if_asked()

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        stop_if_asked()

    def on_test_batch_start(self, *_: Any, **__: Any) -> None:
        stop_if_asked()
