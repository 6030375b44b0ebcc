"""Text files that list the images of a split."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra_det.data.formats.names import read_text
from hydra_det.data.formats.places import file_inside, inside
from hydra_det.data.images import SUFFIXES
from hydra_det.types import InputError

# VOC's lists of a class say behind the name whether the image shows it.
FLAGGED = re.compile(r"(.*\S)\s+(?:-1|0|1)")


def names_inside(root: Path, file: str, *, split: str, folders: Sequence[Path], suffix: str) -> list[str]:
    """The names in a list, which in no folder lead out of the data set.

    Args:
        root: of the data set.
        file: the list, relative to it.
        split: that it is of.
        folders: of the images and, the last, of the annotations.
        suffix: of the latter.
    """
    path = file_inside(root, file, key=f"data.{split}_list", what="a text file that lists images", suffixes=(".txt",))

    def is_there(name: str) -> bool:
        for folder in folders:
            inside(root, name, what=f"the image of a line of {path.name}", folder=folder)
        return (folders[-1] / f"{name}{suffix}").is_file()

    return read_list(path, is_there)


def read_list(path: Path, is_there: Callable[[str], bool]) -> list[str]:
    """Names of images without their suffix, one a line. Names may have spaces; further words are left out.

    Args:
        path: of the list.
        is_there: whether there is something of such a name; of a line that can be read in several ways the longest
            name that is there is taken.
    """
    lines = [line.strip() for line in read_text(path, what="a text file that lists images").splitlines()]
    names = [_name(line, is_there) for line in lines if line]
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"{path}: expected a list of distinct images, got {len(names)}, {len(set(names))} of them distinct"
        )
    return names


def _name(line: str, is_there: Callable[[str], bool]) -> str:
    for name in _readings(line):
        if is_there(name):
            return name
    flagged = FLAGGED.fullmatch(line)
    return flagged[1] if flagged else line


def _readings(line: str) -> Iterator[str]:
    flagged = FLAGGED.fullmatch(line)
    for name in (line, flagged[1] if flagged else line, line.split(maxsplit=1)[0]):
        yield name
        suffix = Path(name).suffix
        if suffix.lower() in SUFFIXES:
            yield name[: -len(suffix)]
