"""A run that was told to stop ends before its next batch, also where what was raised then got lost."""

from typing import Any

import pytest
import pytorch_lightning as pl

from hydra_det.callbacks.watching.stop import Stop
from hydra_det.pipeline import build
from hydra_det.pipeline.precision import settled
from hydra_det.process import interrupts
from tests.pipeline.tiny import compose


def test_every_trainer_of_a_run_has_it():
    trainer: Any = build.trainer(
        settled(compose([])), callbacks=[pl.Callback()], logger=False, enable_checkpointing=False
    )
    assert [type(callback) for callback in trainer.callbacks][:2] == [Stop, pl.Callback]


@pytest.mark.parametrize("kind", ["train", "validation", "test"])
def test_it_looks_before_every_batch(kind):
    look = getattr(Stop(), f"on_{kind}_batch_start")
    look(None, None, None, 0)
    interrupts._asked.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            look(None, None, None, 0)
    finally:
        interrupts._asked.clear()
