"""Files that are written whole or not at all."""

import os
import uuid
from pathlib import Path

TEMPORARY = ".tmp"  # how the name of a file ends while it is written; a process that is killed leaves it behind


def write_atomically(path: str | Path, *content: str | bytes | memoryview) -> None:
    """Write a file, text as UTF-8, so that a reader sees the old file or the new one, never half of one.

    That holds after a power failure too. Missing folders are made. Line ends are written as they are.

    Args:
        path: of the file.
        content: its parts, in order.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are private to the user (0600), and so would be the result.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            for part in content:
                file.write(part.encode() if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # writing into an open file does not say which one it is
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file to the disk, or of a folder which files it holds: a rename is kept in memory until then."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
