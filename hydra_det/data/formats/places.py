"""Which file or folder of a data set is meant, and what is said where there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

from hydra_det.data.images import SUFFIXES, is_foreign
from hydra_det.types import InputError

LONGEST_NAME, LONGEST_PATH = 255, 1000  # bytes of a name in a folder, on nearly every file system, and of a path below
DEEPEST, MOST = 4, 2000  # folders below each other, and folders at all, that are looked into for a message
# By format, what files of it end in; the first that is there tells.
MARKS = {"yolo": ("data.yaml", "obj.names", "classes.txt"), "voc": (".xml",), "coco": (".json",)}
NO_MARKS = ("notes.json",)  # Label Studio's, beside labels of YOLO
NAMED = 6  # in a message


def inside(root: Path, relative: str, *, what: str, folder: Path | None = None) -> Path:
    """The path of a file of the data set; refuses one outside `root`. Links within the data set are followed."""
    base = Path(os.path.normpath(root))
    if not base.is_dir():
        raise InputError(f"data.root: expected the folder of a data set, there is no folder {root}")
    path = Path(os.path.normpath((folder or base) / relative))
    whole = Path(os.path.normpath(Path.cwd() / base))
    if path.is_absolute() and path.is_relative_to(whole):  # some tools write the whole path of what lies inside
        path = base / path.relative_to(whole)
    if not path.is_relative_to(base):
        raise InputError(
            f"{relative:.200}: expected {what} inside {root}, got a path that leaves it; use a relative path"
        )
    if "\0" in relative or _is_too_long(relative):
        raise InputError(f"{relative!r:.200}: expected {what}, got a name that no file can have; correct it")
    return path


def folder_inside(root: Path, relative: str, *, key: str, what: str, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """A folder of the data set; where there is none, the refusal names those that hold such files.

    Args:
        root: of the data set.
        relative: to it.
        key: that names the folder.
        what: it is the folder of.
        suffixes: of the files that lie in it.
    """
    path = inside(root, relative, what=what)
    if not path.is_dir():
        raise InputError(f"{key}: expected {what} below {root}, got {relative:.200}; {_there(root, suffixes)}")
    return path


def file_inside(root: Path, relative: str, *, key: str, what: str, suffixes: tuple[str, ...]) -> Path:
    """A file of the data set; where there is none, the refusal names those with such a suffix."""
    path = inside(root, relative, what=what)
    if not path.is_file():
        files = [name for folder in folders(root) for name in _files(folder, root, suffixes)]
        raise InputError(f"{key}: expected {what}, there is none at {path}; {_listed(files)}; check data.root")
    return path


def folders(root: Path) -> Iterator[Path]:
    """A folder and those below it, not too many and not too deep."""
    for count, (place, below, _) in enumerate(os.walk(root), start=1):
        yield Path(place)
        depth = len(Path(place).relative_to(root).parts)
        below[:] = sorted(name for name in below if not name.startswith(".")) if depth < DEEPEST else []
        if count >= MOST:
            return


def folders_with(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Folders below the root that hold files with such a suffix, relative to it."""
    found = (folder for folder in folders(root) if any(True for _ in _files(folder, root, suffixes)))
    return [folder.relative_to(root).as_posix() for folder in found]


def other_format(root: Path, asked: str) -> str:
    """The question whether another format was meant, where the files of another one are there; else nothing.

    Args:
        root: of the data set.
        asked: the format that was asked for, one of `MARKS`.
    """
    for name, ends in MARKS.items():
        found = () if name == asked else (file for folder in folders(root) for file in _files(folder, root, ends))
        for file in found:
            if base_name(file) not in NO_MARKS:
                return f"; there is {file}: is it data={name}?"
    return ""


def base_name(name: str) -> str:
    r"""The last part of a path, also of one that Windows wrote.

    Example:
        >>> base_name("C:\\pictures\\a.jpg"), base_name("b/a.jpg")
        ('a.jpg', 'a.jpg')
    """
    return name.replace("\\", "/").rsplit("/", 1)[-1]


class Pictures:
    """The pictures of a folder, found by the names that tools write for them.

    Args:
        root: of the data set; nothing outside it is found.
        folder: of the pictures.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self._stems: dict[str, dict[str, list[Path]]] = {}  # by folder and stem

    def named(self, name: str, *, what: str) -> Path | None:
        """By a name with its suffix; one that Windows wrote is looked for below its last parts."""
        path = inside(self.root, name, what=what, folder=self.folder)
        if "\\" not in name or path.is_file():
            return path if path.is_file() else None
        parts = [part for part in name.split("\\") if part not in ("", ".", "..") and ":" not in part]
        for first in range(len(parts)):
            path = inside(self.root, "/".join(parts[first:]), what=what, folder=self.folder)
            if path.is_file():
                return path
        return None

    def of_stem(self, stem: str, *, what: str) -> list[Path]:
        """By a name without its suffix; two files may have the same."""
        path = inside(self.root, stem, what=what, folder=self.folder)
        place = str(path.parent)
        if place not in self._stems:
            self._stems[place] = {}
            for file in sorted(path.parent.iterdir()) if path.parent.is_dir() else []:
                if file.suffix.lower() in SUFFIXES and not is_foreign(file):
                    self._stems[place].setdefault(file.stem, []).append(file)
        return self._stems[place].get(path.name, [])


def files_with(folder: Path, suffix: str) -> list[Path]:
    """All files with a suffix below a folder, by name; none of those that macOS adds."""
    return sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file() and not is_foreign(path))


def _files(folder: Path, root: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:
        return
    for name in names:
        if name.lower().endswith(suffixes):
            yield (folder / name).relative_to(root).as_posix()


def _there(root: Path, suffixes: tuple[str, ...]) -> str:
    kinds = "images" if suffixes == SUFFIXES else f"{', '.join(suffixes)} files"
    found = folders_with(root, suffixes)
    return _listed(found) if found else f"no folder there holds {kinds}; check data.root"


def _listed(names: list[str]) -> str:
    if not names:
        return "no such file is there"
    return (
        f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"
    )


def _is_too_long(relative: str) -> bool:
    sizes = [len(part.encode(errors="replace")) for part in Path(relative).parts]
    return max(sizes, default=0) > LONGEST_NAME or sum(sizes) > LONGEST_PATH
