"""Several processes for one job: what they find is what one process finds, and none of them outlives its job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.numpy import load_file

from hydra_det.pipeline import build
from hydra_det.pipeline.build import CONFIG_DIR, SCRIPTS, plain
from hydra_det.pipeline.precision import settled
from hydra_det.process import processes
from hydra_det.process.script import same_job
from tests.pipeline.tiny import arguments, compose, run
from tests.process.test_command_line import outputs, script
from tests.sweeps.test_launchers import processes_with, waited_for

TWO = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
# Batch statistics are those of a process, so weights are not trained here, and neither are they when scores are.
SCORES_ONLY = ["stage.pretrain.epochs=0", "stage.pretrain.clean_epochs=0", "stage.finetune.epochs=0"]
BOMB = """
import pytorch_lightning as pl
from hydra_det.errors import InputError

class Bomb(pl.Callback):
    def __init__(self, rank):
        self.rank = rank

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank:
            raise InputError(f"pulled the plug of {self.rank}")
"""


@pytest.mark.slow
def test_jobs_of_two_processes_each_keep_the_units_that_one_process_keeps(tmp_path):
    words = ["-m", *arguments(tmp_path), *outputs(tmp_path), *TWO, *SCORES_ONLY, "prune.ratio=0.25,0.5"]
    subprocess.run(script(*words), capture_output=True, text=True, check=True, cwd=tmp_path)
    assert sorted(pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"]) == [0.25, 0.5]
    for number, ratio in enumerate((0.25, 0.5)):
        run(tmp_path, *SCORES_ONLY, "data.batch_size=4", f"prune.ratio={ratio}", name=f"one_{ratio}")
        (several,) = (tmp_path / "sweep").glob(f"{number}_*")
        trained, alone = (
            load_file(folder / "stages" / "prune" / "weights.safetensors")
            for folder in (several, tmp_path / f"one_{ratio}")
        )
        start = load_file(several / "stages" / "init_scores" / "weights.safetensors")
        for name, scores in trained.items():
            if name.endswith(".scores"):
                assert not np.array_equal(start[name], scores), "nothing was trained"
                np.testing.assert_allclose(scores, alone[name], rtol=1e-4, atol=1e-6)
                mask = name.replace(".scores", ".mask")
                np.testing.assert_array_equal(trained[mask], alone[mask])


@pytest.mark.slow
def test_a_process_that_fails_fails_its_job_alone_and_none_is_left(tmp_path, monkeypatch):
    (tmp_path / "bomb.py").write_text(BOMB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bombs = ",".join(f"{{_target_:bomb.Bomb,rank:{rank}}}" for rank in (1, 0, 2))
    words = ["-m", *arguments(tmp_path), *outputs(tmp_path), *TWO, f"+callbacks.bomb={bombs}", "prune.ratio=0.5"]
    done = subprocess.run(script(*words), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line.partition(" error: ")[2] for line in done.stderr.splitlines() if "error: " in line]
    assert [error.partition("seed0: ")[2] or error for error in errors[:-1]] == [
        "pulled the plug of 1",  # said by the process itself, since the first one only notices that it is gone
        "process 1 of this job ended; its message is above",
        "pulled the plug of 0",
    ]
    assert pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"].tolist() == [0.5], "the third job is unharmed"
    assert not processes_with("train.py", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_first_one(tmp_path, sent):
    words = [*arguments(tmp_path), *outputs(tmp_path), *TWO, "stage.pretrain.epochs=500", "prune.ratio=0.25,0.5"]
    process = subprocess.Popen(
        script("-m", *words),
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads yet
    )
    waited_for(lambda: list((tmp_path / "store").glob("pretrain-*.partial/last.ckpt")), process)
    assert len(processes_with("train.py", str(tmp_path))) == 2
    process.send_signal(sent)  # to the first one only: a terminal's Ctrl-C goes to all
    assert process.wait(timeout=60) == (130 if sent == signal.SIGINT else -sent)
    deadline = time.monotonic() + 60
    while processes_with("train.py", str(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_two_processes_that_were_killed_within_an_epoch_go_on_as_if_they_had_not_been(tmp_path):
    epochs = ["stage.pretrain.epochs=3", "stage.train_scores.epochs=1", "stage.finetune.epochs=1"]
    words = [*TWO, *epochs, "hardening.part=0.5", "attack.random_start=true", "checkpoint_minutes=0"]
    left = []
    for kills in (0, 2):
        folder = tmp_path / str(kills)
        folder.mkdir()
        command = script(*arguments(folder), *outputs(folder), *words)
        for _ in range(kills):
            process = subprocess.Popen(command, cwd=folder)
            begun = time.time()
            waited_for(lambda: newer(folder, begun), process)  # noqa: B023 - called at once
            process.kill()
            process.wait()
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        assert ("pretrain: goes on from" in done.stderr) == bool(kills)
        (weights,) = (folder / "store").glob("pretrain-*/weights.safetensors")
        left.append(weights.read_bytes())
    assert left[0] == left[1]


def newer(folder, begun):
    """The checkpoints of the pretraining that were written since a time."""
    found = (folder / "store").glob("pretrain-*.partial/last.ckpt")
    return [path for path in found if path.stat().st_mtime > begun]


def test_the_command_of_a_further_process_is_that_job_alone(tmp_path):
    composed = [*TWO, "prune.ratio=0.5", "prune.exclude=[heads]", "hydra.mode=MULTIRUN", "hydra/launcher=joblib"]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config = hydra_compose("train", overrides=composed, return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(tmp_path / "it's a=b, c")
        config.hydra.job.name, config.hydra.job.config_name = "train", "train"
    HydraConfig.instance().set_config(config)
    command, folder = same_job(1)
    assert folder == config.hydra.runtime.cwd
    assert command[1].endswith("train.py")
    name, *words = command[2:]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        again = hydra_compose(name.removeprefix("--config-name="), overrides=words, return_hydra_config=True)
    assert again.hydra.run.dir == config.hydra.runtime.output_dir
    assert (again.hydra.mode, again.hydra.output_subdir) == (RunMode.RUN, None)
    assert plain_without_hydra(again) == plain_without_hydra(config)


def test_what_a_job_started_is_gone_after_it_and_all_is_as_it_was(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(processes, "same_job", lambda rank: (["sleep", "100"], "."))
    before, threads = dict(os.environ), torch.get_num_threads()
    place = SimpleNamespace(main_address="127.0.0.1", main_port=12345, node_rank=lambda: 0)
    trainer: Any = SimpleNamespace(world_size=3, num_nodes=1)
    processes._start(trainer, place)
    torch.set_num_threads(threads + 1)
    started = list(processes._further.running)
    assert len(started) == 2
    assert (os.environ["MASTER_PORT"], os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"]) == ("12345", "3", "0")
    environments = [Path(f"/proc/{process.pid}/environ").read_text().split("\0") for process in started]
    assert ["LOCAL_RANK=1" in environments[0], "LOCAL_RANK=2" in environments[1]] == [True, True]
    processes.leave()
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2
    assert dict(os.environ) == before
    assert torch.get_num_threads() == threads
    processes.leave()


@pytest.mark.slow
def test_a_first_process_that_hangs_says_why_it_ends_and_leaves_the_reason(tmp_path):
    code = f"""
import threading, time
from types import SimpleNamespace
from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write
from hydra_det.pipeline import build
from hydra_det.process import processes
from tests.pipeline.tiny import compose

compose(["hydra.mode=RUN"])
runtime = HydraConfig.instance().cfg.hydra.runtime
with read_write(runtime):
    runtime.output_dir = {str(tmp_path)!r}
processes.PATIENCE = 0
lost = SimpleNamespace(poll=lambda: -9, kill=lambda: None)
further = SimpleNamespace(running=[SimpleNamespace(poll=lambda: None, kill=lambda: None), lost], over=threading.Event())
threading.Thread(target=processes._watch, args=(further,)).start()
time.sleep(60)  # in a collective that never ends
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=SCRIPTS)
    assert done.returncode == 1, done.stderr
    said = "process 2 of this job ended and the others waited; type the same command again"
    assert f"error: {said}" in done.stderr
    assert (tmp_path / "failed.txt").read_text() == said + "\n"


def test_alone_a_process_decides_and_meets_nobody():
    processes.join(lambda: build.bare_trainer(settled(compose([]))))
    assert not dist.is_initialized()
    assert [processes.agreed(lambda: True), processes.agreed(lambda: False)] == [True, False]


def plain_without_hydra(config: DictConfig) -> Any:
    return plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
