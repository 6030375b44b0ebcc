"""The `train`, `val` and `test` of a data yaml, as Ultralytics and Roboflow write them."""

import logging
import os
from pathlib import Path
from typing import Any

from hydra_det.data.formats.names import YAML, read_data_yaml, read_text
from hydra_det.data.formats.places import folders_with, inside
from hydra_det.data.formats.text_labels import Pair
from hydra_det.data.images import SUFFIXES, is_foreign
from hydra_det.data.layouts.words import TEST, TRAIN, VAL, is_enough, with_test
from hydra_det.data.layouts.yolo import LABELS, image_sources, label_of
from hydra_det.types import InputError

log = logging.getLogger(__name__)

KEYS = {TRAIN: ("train",), VAL: ("val", "valid"), TEST: ("test",)}
LIST = ".txt"


def yaml_pairs(root: Path, names: str, *, testing: bool = False) -> dict[str, tuple[Path, list[Pair]]]:
    """By split, the folder of the images, and the images, each with the file of its labels; none if it names none.

    Paths are relative to `path`, which is relative to the file; they may lead out of the data set, since the yaml is
    the user's own word for where things are.

    Args:
        root: of the data set.
        names: the file with the class names, relative to it.
        testing: only the images to test on are looked for: those of `test`, else `val`, else `train`.
    """
    file = inside(root, names, what="the file of class names")
    if file.suffix not in YAML:
        return {}
    content = read_data_yaml(file)
    _pass_over_missing_test(file, content)
    given = {split: next((content[key] for key in keys if content.get(key)), None) for split, keys in KEYS.items()}
    if testing:
        given = dict([(split, given[split]) for split in (TEST, VAL, TRAIN) if given[split] is not None][:1])
    found = {
        split: _pairs(_Entry(file, KEYS[split][0], content.get("path")), value)
        for split, value in given.items()
        if value is not None
    }
    return with_test(found) if is_enough(found, testing=testing) else {}


def _pass_over_missing_test(file: Path, content: dict[str, Any]) -> None:
    """Roboflow names a folder of test images whether there is one or not; then the second split is tested on."""
    test = content.get("test")
    if isinstance(test, str) and not _Entry(file, "test", content.get("path")).is_there(test):
        log.warning("%s: test: there is no %.200s; the images of val are tested on", file, test)
        del content["test"]


class _Entry:
    """A key of a data yaml, whose values are found on the disk."""

    def __init__(self, file: Path, key: str, base: object) -> None:
        self.file, self.key = file, key
        if base is not None and not isinstance(base, str):
            raise self.error(f"expected a folder under 'path', got {type(base).__name__}")
        self.base = base or ""

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.file}: {self.key}: {problem}")

    def is_there(self, value: str) -> bool:
        """Whether a value names something."""
        try:
            return bool(self.find(value))
        except InputError:
            return False

    def find(self, value: str) -> Path:
        """A file or folder by the first reading of a value that is there."""
        place = self.file.parent
        # Roboflow writes ../train/images and means the folder beside the yaml; CVAT's lists begin with data/.
        words = [word for word in value.replace("\\", "/").split("/") if word not in (".", "")]
        while words and words[0] == "..":
            words.pop(0)
        readings = [place / self.base / value]
        if not value.startswith("/"):
            readings += [place / "/".join(words)] + ([place / "/".join(words[1:])] if words[:1] == ["data"] else [])
        for path in readings:
            try:
                if path.exists():
                    return Path(os.path.normpath(path))
            except (OSError, ValueError):
                raise self.error("expected a path, got a name that no file can have; correct it") from None
        there = ", ".join(folders_with(place, SUFFIXES)[:6]) or "no images"
        raise self.error(f"expected a folder, a list or an image, got {value:.200}; there are {there}")


def _pairs(entry: _Entry, value: Any) -> tuple[Path, list[Pair]]:
    values = value if isinstance(value, list) else [value]
    paths: list[Path] = []
    for item in values:
        if not isinstance(item, str):
            raise entry.error(f"expected the path of a folder or list of images, got {type(item).__name__}")
        path = entry.find(item)
        paths += _listed(entry, path) if path.suffix == LIST and path.is_file() else [path]
    images = list(dict.fromkeys(image_sources(paths)))
    if not images:
        raise entry.error(f"expected images in {paths[0] if paths else value}, found none")
    for image in images:
        if image.suffix.lower() not in SUFFIXES:
            raise entry.error(f"expected images ({', '.join(SUFFIXES)}), got {image}")
    pairs = [(image, label_of(image)) for image in images]
    if not any(label.parent.is_dir() for _, label in pairs):
        below = folders_with(entry.file.parent, (LIST,))
        raise entry.error(
            f"expected a folder of labels at {pairs[0][1].parent} ({LABELS} where the images have images), there is "
            f"none; there are {', '.join(below[:6]) or 'no .txt files'}"
        )
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else Path(os.path.commonpath([i.parent for i in images]))
    return folder, pairs


def _listed(entry: _Entry, file: Path) -> list[Path]:
    """The images of a list, a line each, relative to the list or to where the yaml's paths are."""
    lines = [line.strip() for line in read_text(file, what="a text file that lists images").splitlines()]
    found = []
    for line in lines:
        if line:
            beside = file.parent / line
            found.append(beside if _is_file(beside) else entry.find(line))
    return [path for path in found if not is_foreign(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
