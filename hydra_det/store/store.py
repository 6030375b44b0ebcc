"""Finished stages on disk, named by a fingerprint of exactly what they depend on.

    store/pretrain-3f2a1b0c9d8e/            finished: made by one rename, never changed again
        stage.json  weights.safetensors  tensorboard/
    store/pretrain-3f2a1b0c9d8e.partial/    under way or interrupted: only resumed, never read as a result
    store/pretrain-3f2a1b0c9d8e.damaged/    its files were not as they were written; only kept to be looked at

A stage that is there, with the files that its checksums name, is not run again. Two runs that want the same stage at
the same time take turns; the lock of a process that died is released by the operating system.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra_det.errors import InputError
from hydra_det.files.atomic import TEMPORARY, sync, write_atomically
from hydra_det.files.locks import try_lock
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.records.added import without_added
from hydra_det.records.renamed import first_names
from hydra_det.records.schema import CHECKSUM, checksum

log = logging.getLogger(__name__)

# Raise it when the code computes something else from the same config: old results are then made anew.
FORMAT = 4
ABOUT = "stage.json"
FILES = "files"  # the key in it of sizes and checksums
PARTIAL, DAMAGED = ".partial", ".damaged"
CHECKPOINT_SUFFIX = ".ckpt"
SCRATCH = (CHECKPOINT_SUFFIX, TEMPORARY)  # files of a stage under way
POLL = 1.0  # seconds between two looks at whether another process is done

_contents: dict[tuple[Path, int, int, int], dict[str, Any]] = {}


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """12 hex digits over a nested mapping of plain values.

    Neither the order of keys counts, nor that a class moved, nor a later setting that is at its default.
    """
    text = json.dumps({"format": FORMAT, **first_names(without_added(inputs))}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Store:
    """The folder of finished stages.

    Args:
        root: is made when the first stage starts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, key: str) -> Path:
        """Where a stage lies when it is finished."""
        return self.root / f"{name}-{key}"

    def find(self, name: str, key: str) -> dict[str, Any] | None:
        """What is written about a finished stage; None if it is not finished, or a file of it is missing or cut off."""
        return _about(self.folder(name, key))

    def finished(self, name: str) -> Iterator[dict[str, Any]]:
        """What is written about every finished stage of a name."""
        for folder in sorted(self.root.glob(f"{name}-*")):
            if not folder.suffix and (about := _about(folder)) is not None:
                yield about

    def under_way(self, name: str, key: str) -> Path:
        """Where a stage lies until it is finished."""
        return _beside(self.folder(name, key), PARTIAL)

    def partial(self, name: str, key: str) -> Path:
        """The folder to work in; what an interrupted run left there is there again, but for half-written files."""
        partial = self.under_way(name, key)
        partial.mkdir(parents=True, exist_ok=True)
        for path in partial.glob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)
        return partial

    def publish(self, name: str, key: str, about: Mapping[str, Any]) -> None:
        """Make the partial folder the finished one, in one rename, with the checksums of its files."""
        partial = self.partial(name, key)
        results = [path for path in sorted(partial.iterdir()) if _is_result(path)]
        for path in results:
            sync(path)
        content = {**about, FILES: {path.name: _content(path) for path in results}}
        content = json.loads(json.dumps(content, allow_nan=False))  # as it will be read
        sealed = {**content, CHECKSUM: checksum(content)}
        write_atomically(partial / ABOUT, json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n")
        self._finish(name, key)

    def claim_missing(
        self, name: str, key: str, claimed: ExitStack, *, meanwhile: Callable[[], None] | None = None
    ) -> bool:
        """Whether a stage is to be run here; the exclusive right to do so is then held until `claimed` is closed.

        A stage whose files are not as they were written is set aside, and is to be run.

        Args:
            name: of the stage.
            key: of the stage.
            claimed: takes the right.
            meanwhile: is called every few seconds while another process has it.
        """
        if is_sound(self.folder(name, key)):
            return False
        claimed.enter_context(self.claim(name, key, meanwhile=meanwhile))
        folder, partial = self.folder(name, key), self.under_way(name, key)
        if is_sound(folder):
            return False
        if folder.exists():
            _set_aside(folder)
        if is_sound(partial):  # killed between its last file and its rename
            self._finish(name, key)
            return False
        return True

    def _finish(self, name: str, key: str) -> None:
        partial = self.under_way(name, key)
        for path in partial.iterdir():
            if path.suffix in SCRATCH:
                path.unlink()
        sync(partial)
        partial.rename(self.folder(name, key))
        sync(self.root)

    @contextmanager
    def claim(self, name: str, key: str, *, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the exclusive right to run a stage; waits while another process has it."""
        file = self.root / ".locks" / f"{name}-{key}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if (lock := try_lock(file, setting="store")) is None:
            log.info("%s is being run by another process; waiting for its result", name)
            while (lock := try_lock(file, setting="store")) is None:
                if meanwhile:
                    meanwhile()
                time.sleep(POLL)
        try:
            # On a network drive this machine may remember that the result was missing; what it wrote itself to the
            # folder makes it look again.
            os.utime(self.root)
            yield
        finally:
            lock.release()


def is_sound(folder: Path) -> bool:
    """Whether a stage is there and every file of it is, by size and sha256, what was written."""
    about = _about(folder)
    if about is None:
        return False
    wrong = [name for name, content in about[FILES].items() if _known_content(folder / name) != content]
    if wrong:
        log.warning("%s: expected the file that was written, found another one, by its sha256", folder / wrong[0])
    return not wrong


def read_about(folder: Path) -> dict[str, Any]:
    """What is written about a finished stage that is to be used.

    Raises:
        InputError: the stage is not there, or a file of it is not what was written.
    """
    about = _about(folder)
    if about is None or not is_sound(folder):
        raise InputError(
            f"{folder}: expected a finished stage with all of its files as they were written, found none or a damaged "
            "one; type the command of its run again"
        )
    return about


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        written = about.pop(CHECKSUM)
        sizes = {name: content["bytes"] for name, content in about[FILES].items()}
        whole = written == checksum(about) and all(
            Path(name).name == name  # a stranger's might name files elsewhere
            and (folder / name).stat().st_size == size
            for name, size in sizes.items()
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        if is_of_machine(error) and not _is_bad_sector(error):  # what took hours is not made anew for want of a handle
            raise
        return None  # not there, or damaged
    return about if whole else None


def _is_result(path: Path) -> bool:
    """Whether a file of a stage is read again; what lies in folders is for people to look at."""
    return path.is_file() and path.name != ABOUT and path.suffix not in SCRATCH


def _content(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _known_content(path: Path) -> dict[str, Any] | None:
    """Size and sha256, read once by a process as long as the file does not change; None if the drive cannot read it."""
    stat = path.stat()
    key = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _contents:
        try:
            _contents[key] = _content(path)
        except OSError as error:
            if not _is_bad_sector(error):
                raise
            return None
    return _contents[key]


def _is_bad_sector(error: Exception) -> bool:
    """Whether a drive cannot read what it once wrote; everything else that it refuses says nothing of the file."""
    return isinstance(error, OSError) and error.errno == errno.EIO


def _set_aside(folder: Path) -> None:
    """Keep a damaged stage for whoever wants to know what happened to it, but only the last one."""
    aside = _beside(folder, DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    log.warning("%s: expected a finished stage, found a damaged one; it is now %s, and is run again", folder, aside)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)
