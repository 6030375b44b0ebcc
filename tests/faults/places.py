"""Small drives that really fill up, and drives that nobody may write to; both need the right to mount."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_drive(folder: Path, kilobytes: int) -> Iterator[None]:
    """A drive of so much room at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with _mounted("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder), at=folder):
        yield


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder, as it is, on a drive that cannot be written."""
    with _mounted("--bind", str(folder), str(folder), at=folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def make_room(folder: Path, kilobytes: int) -> None:
    """Let a small drive be a larger one."""
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(folder)], check=True)


@contextlib.contextmanager
def _mounted(*words: str, at: Path) -> Iterator[None]:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)
