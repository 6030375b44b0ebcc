"""Folders and files of the store, shown in the folder of a run; what several runs share is on disk once."""

import os
from pathlib import Path


def link(target: Path, place: Path) -> None:
    """Let `place` be a link to `target`, which may come later; another link there is replaced."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    # Relative, so that a whole checkout can be moved.
    place.symlink_to(os.path.relpath(target.resolve(), place.parent.resolve()))


def link_content(folder: Path, place: Path, *, but: str) -> None:
    """Let `place` be a folder of links to what is in `folder`, except for one name; other links there go."""
    if place.is_symlink():
        place.unlink()
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        if old.is_symlink():
            old.unlink()
    for path in folder.iterdir():
        if path.name != but:
            link(path, place / path.name)
