"""One at a time holds a lock, and nobody once its owner has ended, however that was."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from hydra_det.errors import InputError
from hydra_det.files.locks import try_lock

HOLD = """
import sys, time
from pathlib import Path
from hydra_det.files.locks import try_lock
lock = try_lock(Path(sys.argv[1]), setting="store")
print("free" if lock is None else "held", flush=True)
time.sleep(600)
"""


def is_free(path):
    """Whether the system would give the lock to somebody else now; asked without the code under test."""
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def test_one_at_a_time_has_it_and_its_file_stays(tmp_path):
    path = tmp_path / "lock"
    for _ in range(2):
        lock = try_lock(path, setting="store")
        assert lock is not None
        assert not is_free(path)
        assert try_lock(path, setting="store") is None
        lock.release()
        assert is_free(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b""


def test_threads_exclude_each_other_and_any_of_them_may_release(tmp_path):
    lock = try_lock(tmp_path / "lock", setting="store")
    assert lock is not None
    found = []
    other = threading.Thread(target=lambda: found.append(try_lock(tmp_path / "lock", setting="store")))
    other.start()
    other.join(30)
    assert found == [None]
    release = threading.Thread(target=lock.release)
    release.start()
    release.join(30)
    assert is_free(tmp_path / "lock")


def test_a_killed_process_does_not_hold_it(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert try_lock(path, setting="store") is None
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            assert try_lock(path, setting="store") is not None
        finally:
            process.kill()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_drive_that_does_not_lock_is_refused_and_nothing_weaker_taken(tmp_path, monkeypatch, number):
    def unsupported(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InputError) as caught:
        try_lock(tmp_path / "lock", setting="run")
    assert str(caught.value) == f"run: expected a drive that locks files, got {os.strerror(number)}; give another one"


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        try_lock(tmp_path / "lock", setting="store")
    assert caught.value.filename == str(tmp_path / "lock")
