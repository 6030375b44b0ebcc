"""A stage that does not fit into memory is trained with smaller batches, if that is asked for.

Then it starts again from its beginning with the largest smaller batch that divides the one before, by half where that
is even, and gradients are summed over so many batches that the same images make a step. Of fewer training images than
the batch that was asked for all of them make a step: there it begins with their number. Three things differ from the
batch that was asked for: BatchNorm counts over fewer images; which batches are attacked and which size they have
(`data.multi_scale`) goes by the smaller ones; and rounding.

So what comes out depends on the memory of the machine. `out_of_memory: halve` is therefore part of the fingerprint of a
stage that trains: a run that asks for `fail`, the default, never takes up such a stage, and what it finds under its own
fingerprint was trained as its config says. Two runs that both ask for `halve` share what the first of them could train;
the batch is among the facts of the stage in `record.json`.
"""

import gc
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from hydra_det.data.datamodule import DetectionData
from hydra_det.files.atomic import write_atomically
from hydra_det.process.failures.memory_errors import explain

log = logging.getLogger(__name__)

FAIL, HALVE = CHOICES = ("fail", "halve")
FILE = "batch.json"  # in the folder of a stage: with which batch it is trained, if not with the one asked for


def choice(config: Mapping[str, Any]) -> str:
    """What a config asks for; one of an earlier version does not say."""
    return str(config.get("out_of_memory", FAIL))


def may_halve(config: Mapping[str, Any], name: str) -> bool:
    """Whether a stage may be trained with smaller batches than its config says."""
    trains = bool(config["stage"][name]["epochs"])
    return trains and choice(config) == HALVE


class SmallerBatch(pl.Callback):
    """Sums gradients over the parts of the batch that was asked for, and drops the same images at the end of an epoch.

    Args:
        batch_size: of a part.
        parts: that make a step; the data module makes such parts already.

    Attributes:
        facts: `batch_size` and `batches_a_step`.
    """

    def __init__(self, *, batch_size: int, parts: int) -> None:
        self.batch_size = batch_size
        self.parts = parts
        self.facts = {"batch_size": batch_size, "batches_a_step": parts}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batches = len(data.splits["train"].records) // (self.batch_size * self.parts)
        limit = trainer.limit_train_batches
        asked = int(limit * batches) if isinstance(limit, float) else min(limit, batches)
        trainer.limit_train_batches = asked * self.parts
        trainer.accumulate_grad_batches *= self.parts


def smaller_batch(folder: Path) -> list[pl.Callback]:
    """What the file in the folder of a stage asks for; nothing where there is none."""
    found = _read(folder)
    return [SmallerBatch(**found)] if found else []


def fit_in_memory(fit: Callable[[], None], *, name: str, data: DetectionData, folder: Path) -> None:
    """Train a stage; while memory does not suffice, again from its beginning with smaller batches.

    Args:
        fit: trains it, or goes on with it, in its folder.
        name: of the stage.
        data: whose `batch_size`, and `evaluation_batch_size` where that is larger, are lower meanwhile.
        folder: of the stage; emptied before a new try, so that no checkpoint of another batch is gone on from.

    Raises:
        Exception: what `fit` raised, if that is no want of memory or the batch is a single image.
    """
    asked, evaluation = data.batch_size, data.evaluation_batch_size
    whole = min(asked, len(data.splits["train"].records))  # images of a step
    while True:
        found = _read(folder)
        data.batch_size = found["batch_size"] if found else asked
        data.evaluation_batch_size = min(evaluation, data.batch_size) if found else evaluation
        try:
            fit()
            return
        except Exception as error:
            why = explain(error)
            tried = min(data.batch_size, whole)
            if why is None or tried == 1:
                raise
            smaller = next(size for size in range(tried // 2, 0, -1) if tried % size == 0)
        finally:
            data.batch_size, data.evaluation_batch_size = asked, evaluation
        # Only here the exception is gone, and with it the frames that hold the tensors of the step.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = whole // smaller
        log.warning("%s: starts again with batches of %d, %d a step, after: %s", name, smaller, parts, why)
        shutil.rmtree(folder)
        folder.mkdir()
        write_atomically(folder / FILE, json.dumps({"batch_size": smaller, "parts": parts}) + "\n")


def _read(folder: Path) -> dict[str, int] | None:
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
