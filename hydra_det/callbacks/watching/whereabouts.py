"""What an error that stops a stage cannot know: which stage, epoch, step and images it met."""

import resource
import sys
from typing import Any

import pytorch_lightning as pl
import torch

from hydra_det.errors import NotFiniteError
from hydra_det.types import Batch

SHOWN = 16  # image ids in a message


class Whereabouts(pl.Callback):
    """Says of an exception where it happened: in front of what a `NotFiniteError` says, else in a note (PEP 678).

    It comes first among the callbacks, so that it knows the batch that another one fails on.

    Args:
        name: of the stage.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._ids: list[int] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._ids = ids_of(batch)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, *_: Any
    ) -> None:
        self._ids = ids_of(batch)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._ids = []  # whatever happens until the next one is not about these

    on_test_batch_start = on_validation_batch_start
    on_validation_batch_end = on_test_batch_end = on_train_batch_end

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        where = place(trainer, self.name)
        if isinstance(exception, NotFiniteError):
            ids = [self._ids[position] for position in exception.positions if position < len(self._ids)] or self._ids
            exception.args = (f"{where}{_of(ids)}: {exception}",)
        else:
            batch = f"batch of {len(self._ids)}{_of(self._ids)}" if self._ids else "outside of a batch"
            exception.add_note(f"{where}, {batch}, {_peak(pl_module)}")


def place(trainer: pl.Trainer, name: str) -> str:
    """`pretrain, epoch 3, step 120`, both counted from 1; what trains nothing has neither."""
    if trainer.state.fn != "fit" or not trainer.max_epochs:
        return name
    validating = ", validation" if trainer.validating else ""
    return f"{name}, epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}{validating}"


def ids_of(batch: Batch) -> list[int]:
    """The image ids of a batch."""
    return [target["image_id"] for target in batch["targets"]]


def listed(ids: list[int]) -> str:
    """Ids for a message, the first ones of many."""
    return ", ".join(map(str, ids[:SHOWN])) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def _of(ids: list[int]) -> str:
    return f", images {listed(ids)}" if ids else ""


def _peak(pl_module: pl.LightningModule) -> str:
    """Most memory held so far, of the GPU or of this process."""
    device = pl_module.device
    if device.type == "cuda":
        return f"at most {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB in use on {device} so far"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = peak if sys.platform == "darwin" else peak * 1024  # bytes; macOS counts them, Linux kibibytes
    return f"at most {size / 2**30:.1f} GiB in use so far"
