"""A stage that does not fit into memory: said in one line, or trained with smaller batches if that was asked for."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from hydra_det.modules.detector import Detector
from hydra_det.pipeline import build
from hydra_det.pipeline.stages.out_of_memory import FILE
from hydra_det.pipeline.stages.stage import Stage
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.store.store import Store
from hydra_det.types import InputError
from tests.pipeline.tiny import arguments, compose, run
from tests.process.test_command_line import outputs, script

HALVE = "out_of_memory=halve"
# Clean batches, and no flips: what is compared is which images make a step.
PLAIN = ["stage.pretrain.epochs=2", "stage.pretrain.attacked_share=0", "data.batch_size=6"]
FULL = """
import resource
import pytorch_lightning as pl

class Full(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 1:
            pages = int(open("/proc/self/statm").read().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096,) * 2)
"""


def pretrain(folder: Path, *words: str) -> tuple[Stage, StageRunner]:
    config = compose(arguments(folder, *PLAIN, *words))
    data = build.data(config)
    data.prepare()
    runner = StageRunner(config, data=data, model=build.model_config(config, data), store=Store(folder / "store"))
    return runner.run("pretrain"), runner


class Memory:
    """Room for so many training images; `steps` are the image ids of every optimiser step."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self.steps: list[list[int]] = []
        self.batches: list[int] = []
        self.fails_at: int | None = None
        ids: list[int] = []
        step = Detector.training_step

        def training_step(module: Any, batch: Any, batch_idx: int) -> Any:
            self.batches.append(len(batch["targets"]))
            if len(batch["targets"]) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            ids.extend(target["image_id"] for target in batch["targets"])
            return step(module, batch, batch_idx)

        def optimizer_step(module: Any, *arguments: Any, **options: Any) -> None:
            pl.LightningModule.optimizer_step(module, *arguments, **options)
            self.steps.append(ids.copy())
            ids.clear()
            if len(self.steps) == self.fails_at:
                self.fails_at = None
                raise RuntimeError("pulled the plug")

        monkeypatch.setattr(Detector, "training_step", training_step)
        monkeypatch.setattr(Detector, "optimizer_step", optimizer_step)


def test_smaller_batches_make_steps_of_the_same_images_and_the_record_says_so(tmp_path, monkeypatch, caplog):
    memory = Memory(monkeypatch, room=6)
    whole, _ = pretrain(tmp_path, HALVE)
    assert "batch_size" not in whole.facts
    expected, memory.steps, memory.batches = memory.steps, [], []
    assert [len(step) for step in expected] == [6] * 4, "two epochs of 16 images"

    memory.room = 1
    stage, runner = pretrain(tmp_path / "small", HALVE)
    assert memory.steps == expected
    assert memory.batches == [6, 3, *[1] * 24]
    assert (stage.facts["batch_size"], stage.facts["batches_a_step"]) == (1, 6)
    assert (runner.data.batch_size, runner.data.evaluation_batch_size) == (6, 32), "as before"
    warnings = [record.getMessage() for record in caplog.records if "starts again" in record.getMessage()]
    assert [re.findall(r"batches of (\d), (\d) a step", warning) for warning in warnings] == [
        [("3", "2")],
        [("1", "6")],
    ]
    assert "pretrain, epoch 1, step 1, batch of 6, images " in warnings[0]
    assert stage.key == whole.key


def test_all_of_few_images_make_a_step_and_its_gradient_is_the_mean_over_them(tmp_path, monkeypatch):
    gradients: list[torch.Tensor] = []

    def keep(module: Any, optimizer: Any) -> None:
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))

    def normalise(norm: torch.nn.BatchNorm2d, maps: torch.Tensor) -> torch.Tensor:
        """Without the statistics of a batch, which depend on its size."""
        return F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)

    monkeypatch.setattr(Detector, "on_before_optimizer_step", keep)
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", normalise)
    few = [HALVE, "data.train_images=6", "data.batch_size=8", "stage.pretrain.epochs=1"]
    memory = Memory(monkeypatch, room=6)
    pretrain(tmp_path / "whole", *few)
    expected, memory.steps, memory.batches, memory.room = memory.steps, [], [], 2
    stage, _ = pretrain(tmp_path, *few)
    assert [sorted(step) for step in memory.steps] == [sorted(step) for step in expected]
    assert len(set(expected[0])) == 6
    assert memory.batches == [6, 3, 1, 1, 1, 1, 1, 1]
    assert (stage.facts["batch_size"], stage.facts["batches_a_step"]) == (1, 6)
    whole, parts = gradients
    torch.testing.assert_close(parts, whole, atol=1e-5 * float(whole.abs().max()), rtol=1e-4)


def test_a_stage_that_goes_on_begins_with_the_batch_that_fitted(tmp_path, monkeypatch):
    memory = Memory(monkeypatch, room=3)
    whole, _ = pretrain(tmp_path / "undisturbed", HALVE)
    memory.batches, memory.steps, memory.fails_at = [], [], 3  # in the second epoch
    with pytest.raises(RuntimeError, match="pulled the plug"):
        pretrain(tmp_path, HALVE)
    (partial,) = (tmp_path / "store").glob("pretrain-*.partial")
    assert json.loads((partial / FILE).read_text()) == {"batch_size": 3, "parts": 2}
    memory.batches = []
    stage, _ = pretrain(tmp_path, HALVE)
    assert memory.batches == [3] * 4, "the second epoch, and no batch of 6"
    assert stage.facts["batch_size"] == 3
    expected, found = load_file(whole.weights), load_file(stage.weights)
    assert all((found[name] == tensor).all() for name, tensor in expected.items())


def test_a_checkpoint_of_another_batch_is_not_gone_on_from(tmp_path, monkeypatch):
    memory = Memory(monkeypatch, room=6)
    memory.fails_at = 3
    with pytest.raises(RuntimeError, match="pulled the plug"):
        pretrain(tmp_path, HALVE)
    assert list((tmp_path / "store").glob("pretrain-*.partial/last.ckpt"))
    memory.room, memory.batches = 3, []
    stage, _ = pretrain(tmp_path, HALVE)
    assert memory.batches == [6, *[3] * 8], "both epochs"
    assert [epoch["epoch"] for epoch in stage.facts["history"]] == [1, 2]


def test_a_single_image_that_does_not_fit_ends_the_run(tmp_path, monkeypatch):
    memory = Memory(monkeypatch, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        pretrain(tmp_path, HALVE)
    assert memory.batches == [6, 3, 1]


def test_other_errors_are_not_tried_again(tmp_path, monkeypatch):
    memory = Memory(monkeypatch, room=6)
    memory.fails_at = 1
    with pytest.raises(RuntimeError, match="pulled the plug"):
        pretrain(tmp_path, HALVE)
    assert len(memory.steps) == 1


def test_stages_of_smaller_batches_are_not_those_of_a_run_that_did_not_ask(tmp_path, monkeypatch):
    Memory(monkeypatch, room=3)
    with pytest.raises(torch.OutOfMemoryError):
        pretrain(tmp_path)
    halved, _ = pretrain(tmp_path, HALVE)
    monkeypatch.undo()
    stage, _ = pretrain(tmp_path)
    assert not stage.reused
    assert stage.key != halved.key


def test_what_cannot_be_halved_is_refused_first(tmp_path):
    with pytest.raises(InputError, match="out_of_memory: expected one of fail, halve, got third"):
        run(tmp_path, "out_of_memory=third")
    several = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    with pytest.raises(InputError, match=r"out_of_memory: expected fail with several processes, .* got halve with 2"):
        run(tmp_path, HALVE, *several)


def test_a_run_without_memory_ends_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "full.py").write_text(FULL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*arguments(tmp_path, *PLAIN), *outputs(tmp_path), "stage.pretrain.epochs=1", "data.image_size=416"]
    done = subprocess.run(
        script(*words, "+callbacks.full._target_=full.Full"), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    where = r"pretrain, epoch 1, step 2, batch of 6, images [\d, ]+, at most .* GiB in use so far"
    found = re.search(rf"error: ({where}: expected enough memory, .*)", line)
    assert found, line
    assert (tmp_path / "run" / "failed.txt").read_text() == found[1] + "\n"
    assert not list((tmp_path / "store").rglob("weights.safetensors"))
