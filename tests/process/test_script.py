"""What a job says when it fails, and the look at its folder before it begins."""

import errno
import logging
import os

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from hydra_det.files import atomic
from hydra_det.process import script
from hydra_det.process.script import OutputCheck, job


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a task as a job of one run, in `tmp_path`."""
    about = {
        "runtime": {"output_dir": str(tmp_path)},
        "job": {"name": "train", "config_name": "train"},
        "mode": RunMode.RUN,
    }
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(about))

    def run(error, **config):
        def task(_):
            raise error

        with pytest.raises(SystemExit) as ended:
            job(task)(OmegaConf.create(config))
        assert ended.value.code == 1
        return (tmp_path / "failed.txt").read_text()

    return run


def test_the_traceback_of_a_refusal_is_kept_for_who_asks(run, caplog):
    caplog.set_level(logging.DEBUG)
    run(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/drive/file"))
    (shown,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "error: /drive/file: expected the right to read and write" in shown.message
    assert not shown.exc_info
    (kept,) = [record for record in caplog.records if record.name == script.__name__ and record.exc_info]
    assert kept.levelno == logging.DEBUG
    assert "PermissionError" in logging.Formatter().format(kept)


def test_an_error_of_a_users_code_names_its_line(run, caplog):
    """A job of this test is, for the program, code of somebody else."""
    reason = run(KeyError("slot"))
    assert reason.startswith(f"KeyError: 'slot' ({__file__}, line ")
    (shown,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert not shown.exc_info
    assert "bug" not in shown.message


def test_a_right_that_lacks_without_a_file_is_a_bug_with_its_traceback(run, caplog, monkeypatch):
    monkeypatch.setattr(script, "users_line", lambda _: None)
    reason = run(PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    (shown,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "bug of the program" in shown.message
    assert shown.exc_info
    assert reason.startswith("PermissionError: ")


@pytest.mark.parametrize("store", ["${nowhere}", "???", None, 7], ids=str)
def test_a_store_that_cannot_be_read_does_not_hide_the_error(run, store):
    said = run(OSError(errno.EIO, os.strerror(errno.EIO)), store=store)
    assert "expected a drive that works, got Input/output error" in said


def test_another_process_that_clears_the_folder_is_no_refusal(monkeypatch, tmp_path):
    def write_and_lose(path, *content):
        atomic.write_atomically(path, *content)
        path.unlink()

    monkeypatch.setattr(script, "write_atomically", write_and_lose)
    OutputCheck()._check("hydra.run.dir", OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}}}))
    assert list(tmp_path.iterdir()) == []


def test_further_processes_of_a_job_do_not_look(monkeypatch, tmp_path):
    monkeypatch.setattr(script, "is_helper", lambda: True)
    OutputCheck()._check("hydra.run.dir", OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path / "new")}}}))
    assert not (tmp_path / "new").exists()
