"""Sweeps on launchers other than the plain one, each with its real processes; of SLURM the commands are played."""

import dataclasses
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate

from hydra_det.pipeline.build import CONFIG_DIR, SCRIPTS
from hydra_det.sweeps.sweep import grid_of
from tests.pipeline.tiny import arguments
from tests.process.test_command_line import outputs, script

submitit = pytest.importorskip("submitit")
BaseQueueConf = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.config").BaseQueueConf

# SLURM on this machine: `sbatch` runs an array one job after the other, `srun` its tasks side by side.
PLAYED = {
    "sbatch": """#!/bin/bash
    for script; do :; done
    cp "$script" "$PLAYED/script.sh"
    ntasks=$(sed -n 's/^#SBATCH --ntasks-per-node=//p' "$script")
    last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
    (for task in $(seq 0 "$last"); do
        SLURM_JOB_ID=4711$task SLURM_ARRAY_JOB_ID=4711 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=$ntasks \\
        SLURM_NTASKS_PER_NODE=$ntasks SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_JOB_NAME=train bash "$script"
    done) > "$PLAYED/said" 2>&1 < /dev/null &
    echo "Submitted batch job 4711"
    """,
    "srun": """#!/bin/bash
    while [[ $1 == --* ]]; do [[ $1 == --unbuffered ]] && shift || shift 2; done
    for rank in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & done
    wait
    """,
    "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'",
}  # fmt: skip


def waited_for(found, process, seconds=300):
    """What `found()` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    return answer


def processes_with(*words: str) -> list[int]:
    """Ids of the processes whose command has all these words."""
    answer = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in command for word in words):
            answer.append(int(file.parent.name))
    return answer


def test_the_page_on_sweeps_shows_what_slurm_is_asked_for(tmp_path, monkeypatch):
    typed = ["sweep=paper_grid", "experiment=paper", "data.root=x", "model.weights=y"]
    typed += ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.array_parallelism=16"]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", typed, run_mode=RunMode.MULTIRUN)
        jobs = len(grid_of(config, loader))
    config.hydra.job.name = "train"
    HydraConfig.instance().set_config(config)
    launcher = instantiate(config.hydra.launcher)
    # As the launcher does: what every executor knows is given by its name, the rest is SLURM's.
    general = {field.name for field in dataclasses.fields(BaseQueueConf)}
    given = {
        name: value for name, value in launcher.params.items() if name not in ("submitit_folder", "max_num_timeout")
    }
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 2))  # there is no srun here
    executor = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    executor.update_parameters(**{name if name in general else f"slurm_{name}": given[name] for name in given})
    text = submitit.slurm.slurm._make_sbatch_string("python", "logs", map_count=jobs, **executor._executor.parameters)
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    left_out = ("--output", "--error", "--wckey")  # where logs go
    shown = [line for line in lines if not line.split()[1].startswith(left_out)]
    assert "".join(f"    {line}\n" for line in shown) in (SCRIPTS / "docs" / "sweeps.md").read_text()
    assert launcher.params["max_num_timeout"] > 100, "a job whose time is over is queued again"


@pytest.mark.slow
def test_two_jobs_at_once_share_stages_say_whose_line_it_is_and_go_on_after_a_kill(tmp_path):
    parallel = [
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweep.subdir=r${prune.ratio}_${prune.exclude}",
    ]
    grid = ["prune.ratio=0.25,0.5", "prune.exclude=[nowhere],[]", "stage.train_scores.epochs=6"]
    words = script("-m", *arguments(tmp_path), *outputs(tmp_path), *parallel, *grid)
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    waited_for(lambda: list((tmp_path / "store").glob("train_scores-*.partial/last.ckpt")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    pretrained = [path.stat().st_mtime_ns for path in (tmp_path / "store").glob("pretrain-*/stage.json")]
    assert len(pretrained) == 1

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert any(line.partition("] | ")[0] in ("r0.25_[", "r0.5_[") and "train_scores: goes on" in line for line in lines)
    failed = [line for line in lines if " error: prune.exclude" in line]
    assert sorted(line.partition(" | ")[0] for line in failed) == ["r0.25_['nowhere']", "r0.5_['nowhere']"]
    last = max(number for number, line in enumerate(lines) if " record: " in line)
    assert all(lines.index(line) < last for line in failed), "said when it happens, not at the end"
    assert "error: 2 of 4 jobs failed: r0.25_['nowhere']; r0.5_['nowhere']" in lines[-1]
    assert sorted(pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"]) == [0.25, 0.5]
    kept = [path.parent.name.split("-")[0] for path in (tmp_path / "store").glob("*/stage.json")]
    assert kept.count("pretrain") == kept.count("init_scores") == 1
    assert kept.count("train_scores") == kept.count("finetune") == 2
    assert pretrained == [path.stat().st_mtime_ns for path in (tmp_path / "store").glob("pretrain-*/stage.json")]


@pytest.mark.slow
def test_jobs_on_devices_go_on_after_a_kill_of_the_launcher_and_of_a_job(tmp_path):
    devices = [
        "hydra/launcher=devices",
        "hydra.launcher.devices=cpu",
        "hydra.launcher.per_device=2",
        "hydra.sweep.subdir=r${prune.ratio}_${prune.exclude}",
    ]
    grid = ["prune.ratio=0.25,0.5", "prune.exclude=[nowhere],[]", "stage.train_scores.epochs=20"]
    words = script("-m", *arguments(tmp_path), *outputs(tmp_path), *devices, *grid)
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited_for(lambda: list((tmp_path / "store").glob("train_scores-*.partial/last.ckpt")), process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while processes_with("hydra.mode=RUN", str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes_with("hydra.mode=RUN", str(tmp_path)), "no job outlives its launcher"
    pretrained = [path.stat().st_mtime_ns for path in (tmp_path / "store").glob("pretrain-*/stage.json")]
    assert len(pretrained) == 1

    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
        waited_for(lambda: "train_scores: goes on from" in said.read_text(), process)
        job = waited_for(
            lambda: processes_with("hydra.mode=RUN", str(tmp_path), "prune.ratio=0.25", "exclude=[]"), process
        )
        os.kill(job[0], signal.SIGKILL)
        assert process.wait(timeout=500) == 1
    lines = said.read_text().splitlines()
    killed = "its process was ended by SIGKILL; the same command tries it again"
    assert f"r0.25_[] | failed: {killed}" in lines
    assert (tmp_path / "sweep" / "r0.25_[]" / "failed.txt").read_text().strip() == killed
    failed = [line for line in lines if " error: prune.exclude" in line]
    assert sorted(line.partition(" | ")[0] for line in failed) == ["r0.25_['nowhere']", "r0.5_['nowhere']"]
    assert pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"].tolist() == [0.5]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "two jobs are wrong"
    assert sorted(pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"]) == [0.25, 0.5]
    kept = [path.parent.name.split("-")[0] for path in (tmp_path / "store").glob("*/stage.json")]
    assert kept.count("pretrain") == kept.count("init_scores") == 1
    assert kept.count("train_scores") == kept.count("finetune") == 2
    assert pretrained == [path.stat().st_mtime_ns for path in (tmp_path / "store").glob("pretrain-*/stage.json")]


@pytest.mark.slow
def test_a_job_that_is_told_to_make_room_is_queued_again_and_goes_on(tmp_path):
    words = ["hydra/launcher=submitit_local", "stage.pretrain.epochs=30", "prune.ratio=0.5"]
    process = subprocess.Popen(script("-m", *arguments(tmp_path), *outputs(tmp_path), *words), cwd=tmp_path)
    waited_for(lambda: list((tmp_path / "store").glob("pretrain-*.partial/last.ckpt")), process)
    (job,) = processes_with("submitit.core._submit", str(tmp_path))
    os.kill(job, signal.SIGUSR2)
    assert process.wait(timeout=500) == 0
    (said,) = (tmp_path / "sweep" / ".submitit").glob("*/*_log.err")
    assert "pretrain: goes on from" in said.read_text()
    assert pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"].tolist() == [0.5]


@pytest.mark.slow
def test_an_array_of_slurm_jobs_of_two_processes_each(tmp_path, monkeypatch):
    for name, text in PLAYED.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED", str(tmp_path))
    slurm = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.array_parallelism=4"]
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
    words = script("-m", *arguments(tmp_path), *outputs(tmp_path), *slurm, *two, "prune.ratio=0.25,0.5")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + (tmp_path / "said").read_text()
    asked = (tmp_path / "script.sh").read_text().splitlines()
    for line in (
        "array=0-1%2", "partition=gpu", "gpus-per-node=2", "ntasks-per-node=2", "cpus-per-task=8", "mem=32GB",
        "nodes=1", "time=1440", "signal=USR2@120", "open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH --{line}" in asked
    assert sorted(pd.read_csv(tmp_path / "sweep" / "summary.csv")["ratio"]) == [0.25, 0.5]
    kept = [path.parent.name.split("-")[0] for path in (tmp_path / "store").glob("*/stage.json")]
    assert kept.count("pretrain") == 1
    said = (tmp_path / "said").read_text()
    assert (said.count("pretrain: starts"), said.count("pretrain: found finished")) == (1, 1)
