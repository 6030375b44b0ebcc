"""A log line that a drive refuses is lost quietly; any other mistake while logging or in a thread is heard."""

import contextlib
import errno
import logging
import os
import threading

import pytest

from hydra_det.process.log_lines import calm_lines


class Failing(logging.Handler):
    """Cannot write what it is given."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        try:
            raise self.error
        except Exception:
            self.handleError(record)


@pytest.fixture
def root(monkeypatch):
    """The root logger without the handlers of pytest, one of which raises."""
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])
    return logger


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
        (OSError(errno.EIO, os.strerror(errno.EIO)), False),
        (TypeError("not all arguments converted"), True),
    ],
    ids=str,
)
@pytest.mark.parametrize("when", ["during", "after"])
def test_only_what_a_drive_refuses_is_lost_quietly(root, capsys, error, heard, when):
    root.addHandler(Failing(error))
    with calm_lines():
        if when == "during":
            root.error("said")
    with calm_lines():  # of the next job
        pass
    if when == "after":
        root.error("said")
    assert ("Logging error" in capsys.readouterr().err) == heard
    assert logging.raiseExceptions


def test_threads_are_as_loud_as_before_once_the_job_has_ended(monkeypatch):
    def mine(failed):
        raise NotImplementedError

    monkeypatch.setattr(threading, "excepthook", mine)
    with contextlib.suppress(KeyError), calm_lines():
        assert threading.excepthook is not mine
        raise KeyError
    assert threading.excepthook is mine


@pytest.mark.parametrize(
    ("error", "traceback"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False), (KeyError("a bug"), True)],
    ids=str,
)
def test_a_thread_that_a_drive_refuses_is_one_line(capfd, error, traceback):
    def fail():
        raise error

    with calm_lines():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert ("Traceback" in capfd.readouterr().err) == traceback
