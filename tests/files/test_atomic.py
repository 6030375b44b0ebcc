"""A file is whole and on the disk before it has its name."""

import errno
import os
from pathlib import Path

import pytest

from hydra_det.files import atomic
from hydra_det.files.atomic import write_atomically


def test_all_parts_are_written_in_order_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "ü", b"\x00\r\n", memoryview(b"end"))
    assert path.read_bytes() == "ü".encode() + b"\x00\r\nend"
    assert list(path.parent.iterdir()) == [path]


def test_content_comes_to_the_disk_before_the_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    seen = []
    original_sync, original_replace = os.fsync, Path.replace

    def sync(handle):
        seen.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().suffix))
        original_sync(handle)

    def replace(path, to):
        seen.append(("replace", Path(to).suffix))
        return original_replace(path, to)

    monkeypatch.setattr(atomic.os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(tmp_path / "file.json", "{}")
    assert seen == [("sync", ".tmp"), ("replace", ".json"), ("sync", "")]


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
