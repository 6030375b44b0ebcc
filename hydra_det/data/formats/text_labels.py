"""Formats with one text file an image and one line an object: YOLO's txt and KITTI's label_2.

Neither says how large an image is: that is read from the header of the image itself.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra_det.data.checks.findings import Notes
from hydra_det.data.formats.assembly import ROUNDING, Annotation, AnnotationSet, ImageEntry
from hydra_det.data.formats.names import ENCODING
from hydra_det.data.images import read_size
from hydra_det.types import InputError

Box = tuple[float, float, float, float]  # left, top, width, height in pixels of the original image
# An image, and the file with its labels.
Pair = tuple[Path, Path]


class Line(NamedTuple):
    """A line, where it stands, the (width, height) of its image, and who takes what is found, by kind and text."""

    text: str
    place: str
    size: tuple[int, int]
    say: Callable[[str, str], None]


# -> class name or ANYTHING, and box; None to leave it out.
LineParser = Callable[[Line], tuple[str, Box] | None]
ANYTHING = "DontCare"  # a region in which nothing that is found counts

KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
KITTI_COLUMNS = 15  # a 16th, the score, is there in results only
YOLO_COLUMNS = 5
LEAST_OUTLINE = 7  # numbers of the smallest polygon: a class and three corners


def parse_yolo(pairs: Sequence[Pair], *, folder: Path, classes: Sequence[str], notes: Notes) -> AnnotationSet:
    """YOLO's files: class number, centre, width and height as shares of the image. An image without a file is empty.

    Args:
        pairs: images in their order, each with its text file; the k-th gets the id k, counted from 1.
        folder: of the images; file names are relative to it.
        classes: names by class number; category ids are counted from 1.
        notes: takes what is found.
    """

    def line(given: Line) -> tuple[str, Box] | None:
        number, *shares = _yolo_numbers(given)
        if number != int(number) or not 0 <= number < len(classes):
            raise InputError(f"{given.place}: expected a class number from 0 to {len(classes) - 1}, got {number:g}")
        _check_shares(shares, given)
        if len(shares) == YOLO_COLUMNS - 1:
            x, y, width, height = shares
            left, top = x - width / 2, y - height / 2
        else:
            given.say("polygon", f"{given.place}: {len(shares) // 2} corners")
            left, top = min(shares[::2]), min(shares[1::2])
            width, height = max(shares[::2]) - left, max(shares[1::2]) - top
        return classes[int(number)], (left * given.size[0], top * given.size[1], width * given.size[0],
                                      height * given.size[1])  # fmt: skip

    _note_missing(pairs, notes)
    return _parse(pairs, folder=folder, classes=classes, line=line, optional=True, notes=notes)


def parse_kitti(pairs: Sequence[Pair], *, folder: Path, classes: Sequence[str], notes: Notes) -> AnnotationSet:
    """KITTI's object labels; `DontCare` regions are neither learnt nor scored.

    Arguments as in `parse_yolo`; objects of other classes are left out, an image without a label file is refused.
    """

    def line(given: Line) -> tuple[str, Box] | None:
        name, *rest = given.text.split()
        values = _numbers(rest, given.place, columns=KITTI_COLUMNS - 1, meaning="the 15 of KITTI's object labels")
        if name not in (*KITTI_CLASSES, *classes, ANYTHING):
            known = ", ".join(KITTI_CLASSES)
            raise InputError(f"{given.place}: expected one of {known} or {ANYTHING}, got {name!r:.100}")
        if name not in (*classes, ANYTHING):
            return None
        left, top, right, bottom = values[3:7]
        return name, (left, top, right - left, bottom - top)

    return _parse(pairs, folder=folder, classes=classes, line=line, optional=False, notes=notes)


def _yolo_numbers(given: Line) -> list[float]:
    words = given.text.split()
    if len(words) >= LEAST_OUTLINE and len(words) % 2:
        return _numbers(words, given.place, columns=len(words), meaning="a class and the corners of a polygon")
    meaning = "class, centre x, centre y, width, height"
    if len(words) == YOLO_COLUMNS + 1:
        raise InputError(
            f"{given.place}: expected {YOLO_COLUMNS} numbers ({meaning}), got {len(words)}; a sixth is the confidence "
            "of a prediction: take labels, or remove that column"
        )
    return _numbers(words, given.place, columns=YOLO_COLUMNS, meaning=meaning)


def _check_shares(shares: Sequence[float], given: Line) -> None:
    """Labelling tools round, so that the edge of a picture may lie a little outside: less than a pixel is let pass."""
    over = [max(share - 1, -share) * given.size[k % 2] for k, share in enumerate(shares)]
    if max(over) > ROUNDING:
        raise InputError(f"{given.place}: expected shares of the image in [0, 1], got {given.text.strip()!r:.200}")
    if max(over) > 0:
        given.say("rounded", f"{given.place}: {given.text.strip():.200}")


def _note_missing(pairs: Sequence[Pair], notes: Notes) -> None:
    """Note images that have no label file, where most have one, and files that two images have."""
    missing = [image_id for image_id, (_, label) in enumerate(pairs, start=1) if not label.is_file()]
    if 2 * len(missing) < len(pairs):
        for image_id in missing:
            notes.add(
                "unlabelled", f"{pairs[image_id - 1][0]}, for which {pairs[image_id - 1][1]} is expected", image_id
            )
    first: dict[Path, Path] = {}
    for image_id, (image, label) in enumerate(pairs, start=1):
        other = first.setdefault(label, image)
        if other != image and label.is_file():
            notes.add("shared", f"{label}: of {other.name} and {image.name}", image_id)


def _parse(
    pairs: Sequence[Pair], *, folder: Path, classes: Sequence[str], line: LineParser, optional: bool, notes: Notes
) -> AnnotationSet:
    ids = {name: number for number, name in enumerate(classes, start=1)}
    entries: dict[int, ImageEntry] = {}
    annotations: list[Annotation] = []
    for image_id, (image, file) in enumerate(pairs, start=1):
        with notes.item():
            size = read_size(image)
            entries[image_id] = ImageEntry(image_id, image.relative_to(folder).as_posix(), *size, path=image)
            for name, box, place in _objects(file, line, size, image_id=image_id, optional=optional, notes=notes):
                area = max(0.0, box[2]) * max(0.0, box[3])
                for category in ids.values() if name == ANYTHING else (ids[name],):
                    number = len(annotations) + 1
                    annotations.append(Annotation(number, image_id, category, box, area, name == ANYTHING, place=place))
    return AnnotationSet({number: name for name, number in ids.items()}, entries, annotations)


def _objects(
    file: Path, line: LineParser, size: tuple[int, int], *, image_id: int, optional: bool, notes: Notes
) -> Iterator[tuple[str, Box, str]]:
    """Class, box and place of what a file of labels lists."""
    for number, text in enumerate(_lines(file, optional=optional), start=1):
        place = f"{file}: line {number}"
        found = None
        if text.strip():
            with notes.item():
                found = line(Line(text, place, size, lambda kind, said: notes.add(kind, said, image_id)))
        if found is not None:
            yield *found, place


def _lines(file: Path, *, optional: bool) -> list[str]:
    if optional and not file.exists():
        return []
    try:
        return file.read_text(ENCODING).splitlines()
    except OSError as error:
        raise InputError(f"{file}: expected a file of labels, could not read it ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected text, got other bytes; is it a label file?") from error


def _numbers(words: Sequence[str], place: str, *, columns: int, meaning: str) -> list[float]:
    if len(words) != columns:
        raise InputError(f"{place}: expected {columns} numbers ({meaning}), got {len(words)}")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{place}: expected numbers, got {' '.join(words)!r:.200}") from error
    if not all(abs(value) < 1e9 for value in values):
        raise InputError(f"{place}: expected finite numbers, got {' '.join(words)!r:.200}")
    return values
