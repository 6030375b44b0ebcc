"""A dry run leaves the drive as it was."""

import os
import subprocess
import sys

import pytest

from hydra_det.process import dry_run
from hydra_det.process.locations import PACKAGE

TASK = """
from hydra_det.pipeline import build
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.errors import InputError
import logging, sys

@job
def task(config):
    logging.getLogger("task").warning("planned")
    if config.seed == 3:
        raise InputError("seed: wrong")

command("train")(task)()
"""


def everything(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_what_was_there_stays_and_what_is_not_empty(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "empty").mkdir()
    (tmp_path / "old" / "multirun.yaml").write_text("mine")
    for name in ("old", "new/a/b", "kept/a"):
        dry_run.note(tmp_path / name)
    for made in ("old/0_job", "new/a/b/0_job", "kept/a"):
        (tmp_path / made).mkdir(parents=True)
    for plan in ("old", "new/a/b"):
        (tmp_path / plan / "multirun.yaml").write_text("of the dry run")
    (tmp_path / "kept" / "notes.txt").write_text("somebody's")
    dry_run.leave_nothing()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"old", "old/empty", "old/multirun.yaml", "kept", "kept/notes.txt"}
    assert (tmp_path / "old" / "multirun.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [["seed=0"], *(pytest.param(words, marks=pytest.mark.slow) for words in (["seed=3"], ["-m", "seed=0,1"]))],
    ids=" ".join,
)
def test_a_command_leaves_nothing(words, tmp_path):
    (tmp_path / "run" / "there").mkdir(parents=True)
    (tmp_path / "run" / "failed.txt").write_text("of the run that this one would repeat\n")
    (tmp_path / "task.py").write_text(TASK)
    before = everything(tmp_path)
    here = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    for place in ([], ["hydra.run.dir=run", "hydra.sweep.dir=run"]):
        given = [sys.executable, str(tmp_path / "task.py"), "dry_run=true", *words, *place]
        given += ["hydra.callbacks.check._target_=hydra.experimental.callback.Callback"] if "-m" in words else []
        done = subprocess.run(given, capture_output=True, text=True, cwd=tmp_path, check=False, env=here)
        assert done.returncode == ("seed=3" in words), done.stderr
        assert "planned" in done.stderr
        assert everything(tmp_path) == before
