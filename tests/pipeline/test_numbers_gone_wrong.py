"""A run whose numbers go wrong: one line, exit code 1, nothing bad on disk, and the mended command works."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hydra_det.store.store import Store
from tests.pipeline.tiny import arguments
from tests.process.test_command_line import outputs, script
from tests.sweeps.test_launchers import processes_with

SHORT = ["stage.pretrain.epochs=1", "stage.pretrain.clean_epochs=0", "stage.pretrain.warmup_steps=0"]
SPOIL = """
import pytorch_lightning as pl

class Spoil(pl.Callback):
    def __init__(self, rank):
        self.rank = rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.global_rank, trainer.global_step) == (self.rank, 1):
            batch["images"][1, 0, 5, 5] = float("nan")
"""


def failing(folder: Path, *words: str) -> str:
    """The one line that a run ends with."""
    typed = script(*arguments(folder), *outputs(folder), *words)
    done = subprocess.run(typed, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert (folder / "run" / "failed.txt").read_text().strip() == line.partition("error: ")[2]
    return line


@pytest.mark.slow
def test_a_run_stops_at_once_and_another_learning_rate_begins_anew(tmp_path):
    line = failing(tmp_path, *SHORT, "stage.pretrain.optimizer.lr=1e30")
    assert "error: pretrain, epoch 1, step 2: expected finite numbers, got a loss term " in line
    assert "lower stage.pretrain.optimizer.lr (" in line
    (partial,) = (tmp_path / "store").glob("pretrain-*")
    assert partial.suffix == ".partial"
    assert not [*partial.rglob("*.ckpt"), *partial.rglob("*.safetensors"), *(tmp_path / "run").rglob("record.json")]

    typed = script(*arguments(tmp_path), *outputs(tmp_path), *SHORT, "stage.pretrain.optimizer.lr=1e-3")
    done = subprocess.run(typed, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "failed.txt").exists()
    assert (tmp_path / "run" / "record.json").is_file()
    assert len(list(Store(tmp_path / "store").finished("pretrain"))) == 1
    for file in (tmp_path / "store").rglob("*.safetensors"):
        assert all(np.isfinite(tensor).all() for tensor in load_file(file).values())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_stop_with_the_word_of_the_one_that_met_it(tmp_path, monkeypatch, rank):
    (tmp_path / "spoil.py").write_text(SPOIL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
    line = failing(tmp_path, *two, f"+callbacks.spoil={{_target_:spoil.Spoil,rank:{rank}}}")
    assert "error: pretrain, epoch 1, step 2: expected finite numbers, got images " in line
    assert " not finite; look at them with doctor.py" in line
    assert not processes_with("train.py", str(tmp_path))
