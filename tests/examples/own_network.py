"""`examples/own_network.py` as a user has it: a module in a folder that is on Python's path."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.pipeline import tiny

EXAMPLES = Path(__file__).parents[2] / "examples"
NAME, TARGET = "own_network", "own_network.MyDetector"
MODEL = ["model=own", f"model._target_={TARGET}", "+model.width=16"]
DATA = [word for word in tiny.OVERRIDES if word.startswith("data.")]
SHORT = [
    *DATA, "attack.steps=2", "trainer.check_val_every_n_epoch=3", "trainer.enable_progress_bar=false",
    "trainer.limit_train_batches=2", "evaluation.latency.repeats=3", "evaluation.latency.warmup=1",
    "evaluation.bootstrap=0", "stage.pretrain.epochs=2", "stage.pretrain.clean_epochs=1",
    "stage.pretrain.attacked_share=1",
]  # fmt: skip


@contextmanager
def on_the_path() -> Iterator[Any]:
    """The module, found by its name inside."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(EXAMPLES))
        sys.modules.pop(NAME, None)
