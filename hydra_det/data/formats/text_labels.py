"""Formats with one text file an image and one line an object: YOLO's txt and KITTI's label_2.

Neither says how large an image is: that is read from the header of the image itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from hydra_det.data.formats.assembly import Annotation, AnnotationSet, ImageEntry
from hydra_det.data.images import read_size
from hydra_det.files.plain_yaml import plain_scalars
from hydra_det.types import InputError

Box = tuple[float, float, float, float]  # left, top, width, height in pixels of the original image
# A line, the place that a message names, and (width, height) -> class name or ANYTHING, and box; None to leave it out.
LineParser = Callable[[str, str, tuple[int, int]], tuple[str, Box] | None]
ENCODING = "utf-8-sig"  # some editors begin a file with a mark, which is not part of the first word
ANYTHING = "DontCare"  # a region in which nothing that is found counts

KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
KITTI_COLUMNS = 15  # a 16th, the score, is there in results only


def parse_yolo(images: Sequence[Path], *, folder: Path, labels: Path, classes: Sequence[str]) -> AnnotationSet:
    """YOLO's files: class number, centre, width and height as shares of the image. An image without a file is empty.

    Args:
        images: files in the order of the images; the k-th gets the id k, counted from 1.
        folder: of the images; file names are relative to it.
        labels: folder of the text files, which lie there as the images lie in `folder`.
        classes: names by class number; category ids are counted from 1.
    """

    def line(text: str, place: str, size: tuple[int, int]) -> tuple[str, Box] | None:
        values = _numbers(text.split(), place, columns=5, meaning="class, centre x, centre y, width, height")
        number, x, y, width, height = values
        if number != int(number) or not 0 <= number < len(classes):
            raise InputError(f"{place}: expected a class number from 0 to {len(classes) - 1}, came {number:g}")
        if not all(0 <= value <= 1 for value in values[1:]):
            raise InputError(f"{place}: expected shares of the image in [0, 1], came {text.strip()!r:.200}")
        box = (x - width / 2) * size[0], (y - height / 2) * size[1], width * size[0], height * size[1]
        return classes[int(number)], box

    return _parse(images, folder=folder, labels=labels, classes=classes, line=line, optional=True)


def parse_kitti(images: Sequence[Path], *, folder: Path, labels: Path, classes: Sequence[str]) -> AnnotationSet:
    """KITTI's object labels; `DontCare` regions are neither learnt nor scored.

    Arguments as in `parse_yolo`; objects of other classes are left out, an image without a label file is refused.
    """

    def line(text: str, place: str, size: tuple[int, int]) -> tuple[str, Box] | None:
        name, *rest = text.split()
        values = _numbers(rest, place, columns=KITTI_COLUMNS - 1, meaning="the 15 of KITTI's object labels")
        if name not in (*KITTI_CLASSES, *classes, ANYTHING):
            raise InputError(f"{place}: expected one of {', '.join(KITTI_CLASSES)} or {ANYTHING}, came {name!r:.100}")
        if name not in (*classes, ANYTHING):
            return None
        left, top, right, bottom = values[3:7]
        return name, (left, top, right - left, bottom - top)

    return _parse(images, folder=folder, labels=labels, classes=classes, line=line, optional=False)


def read_names(path: Path) -> list[str]:
    """Class names by number, from a file with a name a line or from the `names` of a data yaml."""
    try:
        text = path.read_text(ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{path}: expected a file with class names, could not read it ({reason})") from error
    names = _of_yaml(path, text) if path.suffix in (".yaml", ".yml") else [word.strip() for word in text.splitlines()]
    names = [name for name in names if name]
    if not names:
        where = "under 'names'" if path.suffix in (".yaml", ".yml") else "a line each"
        raise InputError(f"{path}: expected class names {where}, found none")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: expected distinct class names, came {', '.join(names)[:200]}")
    return names


def _of_yaml(path: Path, text: str) -> list[str]:
    """The names of a data yaml, which lists them or numbers them from 0."""
    shape = f"{path}: expected class names as a list or as 0: ..., 1: ... under 'names'"
    try:
        for _ in plain_scalars(text, path):
            pass
        found = (yaml.safe_load(text) or {}).get("names", [])
        if not isinstance(found, list | dict):
            raise InputError(f"{shape}, came {type(found).__name__}")
        names = [found[number] for number in range(len(found))]
    except InputError:
        raise
    # The last two: a date that does not exist, and nesting without end.
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{shape}; correct the file") from error
    for number, name in enumerate(names):
        # YAML reads a bare `no` as false and `null` as nothing: a class of the name False would be a surprise.
        if not isinstance(name, str | int) or isinstance(name, bool):
            kind = type(name).__name__
            raise InputError(f"{path}: names[{number}]: expected text, came {kind}; put it in quotes")
    return [str(name).strip() for name in names]


def _parse(
    images: Sequence[Path], *, folder: Path, labels: Path, classes: Sequence[str], line: LineParser, optional: bool
) -> AnnotationSet:
    ids = {name: number for number, name in enumerate(classes, start=1)}
    entries: dict[int, ImageEntry] = {}
    annotations: list[Annotation] = []
    for image_id, image in enumerate(images, start=1):
        relative = image.relative_to(folder)
        size = read_size(image)
        entries[image_id] = ImageEntry(image_id, relative.as_posix(), *size)
        file = (labels / relative).with_suffix(".txt")
        for number, text in enumerate(_lines(file, optional=optional), start=1):
            if not text.strip():
                continue
            found = line(text, f"{file}: line {number}", size)
            if found is None:
                continue
            name, box = found
            area = max(0.0, box[2]) * max(0.0, box[3])
            for category in ids.values() if name == ANYTHING else (ids[name],):
                annotations.append(Annotation(len(annotations) + 1, image_id, category, box, area, name == ANYTHING))
    return AnnotationSet({number: name for name, number in ids.items()}, entries, annotations)


def _lines(file: Path, *, optional: bool) -> list[str]:
    if optional and not file.exists():
        return []
    try:
        return file.read_text(ENCODING).splitlines()
    except OSError as error:
        raise InputError(f"{file}: expected a file of labels, could not read it ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected text, came other bytes; is it a label file?") from error


def _numbers(words: Sequence[str], place: str, *, columns: int, meaning: str) -> list[float]:
    if len(words) != columns:
        raise InputError(f"{place}: expected {columns} numbers ({meaning}), came {len(words)}")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{place}: expected numbers, came {' '.join(words)!r:.200}") from error
    if not all(abs(value) < 1e9 for value in values):
        raise InputError(f"{place}: expected finite numbers, came {' '.join(words)!r:.200}")
    return values
