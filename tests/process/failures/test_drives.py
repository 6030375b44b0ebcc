"""What a drive refuses is one line that says where, why and what to do; any other error stays what it is."""

import errno
import os
import subprocess

import pytest
from safetensors import SafetensorError

from hydra_det.process.failures import drives
from hydra_det.process.failures.drives import refusal

RIGHT = "expected the right to read and write"


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("number", "why", "what", "full"),
    [
        (errno.ENOSPC, "expected room to write, got No space left on device", "make room there, or give another", True),
        (errno.EDQUOT, "expected room to write, got Disk quota exceeded", "make room there, or give another", True),
        (errno.EFBIG, "expected room to write, got File too large", "make room there, or give another", True),
        (
            errno.EROFS,
            f"{RIGHT}, got Read-only file system",
            "give it, or another folder",
            False,
        ),
        (
            errno.EACCES,
            f"{RIGHT}, got Permission denied",
            "give it, or another folder",
            False,
        ),
        (errno.EIO, "expected a drive that works, got Input/output error", "look at it, or give another one", False),
        (errno.EMFILE, "expected to open one more file, got Too many open files", "raise `ulimit -n`", False),
    ],
)
def test_an_error_of_a_drive_says_where_why_and_what_to_do(tmp_path, number, why, what, full):
    found = refusal(OSError(number, os.strerror(number), "/drive/file"), {"store": tmp_path, "hydra.run.dir": tmp_path})
    assert found is not None
    assert found.line.startswith(f"/drive/file: {why}; {what}")
    assert ("store= or hydra.run.dir=" in found.line) == (number != errno.EMFILE)
    assert found.line.endswith("and type the same command again")
    assert "\n" not in found.line
    assert found.full == full


def test_of_a_move_the_end_is_named(tmp_path):
    moved = OSError(errno.ENOSPC, "No space left on device", "/tmp/start", None, "/drive/end")
    found = refusal(moved, {"store": tmp_path})
    assert found is not None
    assert found.line.startswith("/drive/end: ")


def test_words_of_another_library_and_a_cause_are_understood(tmp_path, monkeypatch):
    rooms = {tmp_path / "a": 5 * 2**30, tmp_path / "b": 1000}
    monkeypatch.setattr(drives, "_room", rooms.get)
    said = RuntimeError("serialising: I/O error: No space left on device (os error 28)")
    for error in (said, raised(ValueError("checkpoint"), said)):
        found = refusal(error, {"store": tmp_path / "a", "hydra.run.dir": tmp_path / "b"})
        assert found is not None
        assert found.line.startswith(f"{tmp_path / 'b'}: expected room"), "the full one of the two is named"


def test_room_is_asked_of_the_next_folder_that_is_there(tmp_path):
    stat = os.statvfs(tmp_path)
    room = drives._room(tmp_path / "not" / "yet")
    assert room is not None
    assert abs(room - stat.f_bavail * stat.f_frsize) < 2**30


@pytest.mark.parametrize(
    "error",
    [
        KeyError("No such key"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        RuntimeError("Operation not permitted"),
        PermissionError(errno.EPERM, "Operation not permitted"),  # of a signal to the process of another user
        ValueError("expected a message, got 'Input/output error'"),
        type("ParseError", (RuntimeError,), {})("line 3: No space left on device"),
    ],
)
def test_what_is_not_a_drive_is_left_to_others(tmp_path, error):
    assert refusal(error, {"store": tmp_path}) is None


def test_a_program_that_must_not_be_started_is_not_a_drive(tmp_path):
    (tmp_path / "program").touch(mode=0o600)
    with pytest.raises(PermissionError) as refused:
        subprocess.run([tmp_path / "program"], check=False)
    assert refused.value.filename is not None
    assert refusal(refused.value, {"store": tmp_path}) is None


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: Input/output error (os error 5)"),
        OSError("Caught OSError in DataLoader worker process 0.\nOSError: [Errno 5] Input/output error: 'x'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_who_passes_on_the_words_only_is_understood(tmp_path, error):
    found = refusal(error, {"store": tmp_path})
    assert found is not None
    assert "expected a drive that works" in found.line
