"""Checkpoints of a stage under way, as files that say themselves whether they are whole.

A file is the sha256 of what follows, and what `torch.save` writes. The checkpoint before the last one is kept beside
it, so that one damaged file costs minutes. They are for resuming only; nothing in them is executed when they are read.
"""

import errno
import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from hydra_det.errors import InputError
from hydra_det.files.atomic import write_atomically
from hydra_det.store.store import CHECKPOINT_SUFFIX

log = logging.getLogger(__name__)

LAST, EARLIER = f"last{CHECKPOINT_SUFFIX}", f"earlier{CHECKPOINT_SUFFIX}"
DIGEST = hashlib.sha256().digest_size  # bytes


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints here."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all; the one that was there becomes the earlier one."""
        path, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        if path.is_file():
            path.replace(path.with_name(EARLIER))
        write_atomically(path, hashlib.sha256(content).digest(), content)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read tensors and plain values, whatever `weights_only` says.

        Raises:
            InputError: the file is damaged, or holds something else, as a program that wants to be run.
        """
        content = _content(Path(path))
        if content is None:
            raise InputError(f"{path}: expected a checkpoint as it was written, found a damaged one; delete it")
        try:
            return torch.load(io.BytesIO(content), map_location=map_location or "cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
            raise InputError(
                f"{path}: expected a checkpoint of tensors and plain values, found something else, which was not run; "
                "delete it, and find out who wrote it"
            ) from error


def resumable(folder: Path) -> Path | None:
    """The newest checkpoint in a folder that is as it was written; None: there is none. Damaged ones are removed.

    Were a damaged one left there, the next checkpoint would take it for the one to keep, in place of the good one.
    """
    for path in (folder / LAST, folder / EARLIER):
        if not path.is_file():
            continue
        if _content(path) is not None:
            return path
        log.warning("%s: expected a checkpoint as it was written, found a damaged one; it is removed", path)
        path.unlink(missing_ok=True)
    return None


def _content(path: Path) -> memoryview | None:
    """What a file holds behind its checksum; None if it is another thing, or the drive cannot read it any more."""
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOENT):  # another process of the job may have removed a damaged one
            raise
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    return content[DIGEST:]
