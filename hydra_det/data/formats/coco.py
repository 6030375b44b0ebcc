"""COCO's annotation files: text in, checked plain values out, one clear line for whatever is wrong."""

import json
from pathlib import Path
from typing import Any

from hydra_det.data.formats.assembly import Annotation, AnnotationSet, ImageEntry, assemble, inside
from hydra_det.data.samples import Split
from hydra_det.files.plain_values import LARGEST, is_text
from hydra_det.types import InputError


def read_coco(root: Path, annotations: str, images: str, *, name: str, strict: bool = False) -> Split:
    """Read an annotation file and look at every image file it names.

    Args:
        root: folder of the data set; nothing outside it is read.
        annotations: the annotation file, relative to `root`.
        images: the image folder, relative to `root`; file names are relative to it.
        name: of the split.
        strict: refuse a file with a box that would have to be clipped or dropped.
    """
    path = inside(root, annotations, what="the annotation file")
    folder = inside(root, images, what="the image folder")
    return assemble(parse_coco(path), root=root, folder=folder, source=path, name=name, strict=strict)


def parse_coco(path: Path) -> AnnotationSet:
    """Read and check an annotation file."""
    content = _read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, came {_kind(content)}; is this a COCO annotation file?")
    entries = {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            came = f"came {_kind(content[key])}" if key in content else "the key is missing"
            raise InputError(f"{path}: expected a list under {key!r}, {came}; is this a COCO detection file?")
        entries[key] = [_Entry(path, f"{key}[{i}]", item) for i, item in enumerate(content[key])]
    categories = _categories(path, entries["categories"])
    images = _images(path, entries["images"])
    annotations = [_annotation(entry, images=images, categories=categories) for entry in entries["annotations"]]
    return AnnotationSet(categories, images, annotations)


class _Entry:
    """One item of a list of the file; its getters refuse values of a wrong kind, naming file, item and key."""

    def __init__(self, path: Path, place: str, item: object) -> None:
        self.path, self.place = path, place
        if not isinstance(item, dict):
            raise self.error(f"expected a JSON object, came {_kind(item)}")
        self.item: dict[str, Any] = item

    def error(self, problem: str, *, advice: str = "correct the file") -> InputError:
        return InputError(f"{self.path}: {self.place}: {problem}; {advice}")

    def get(self, key: str) -> Any:
        if key not in self.item:
            raise self.error(f"expected the key {key!r}, it has {', '.join(self.item)[:200] or 'none'}")
        return self.item[key]

    def integer(self, key: str, *, minimum: int) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < LARGEST:
            raise self.error(f"expected an integer of at least {minimum} for {key!r}, came {_short(value)}")
        return value

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value or not is_text(value):
            raise self.error(f"expected a text for {key!r}, came {_short(value)}")
        return value

    def number(self, key: str) -> float:
        return self._finite(key, self.get(key))

    def box(self, key: str) -> tuple[float, float, float, float]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != 4:
            raise self.error(f"expected 4 numbers [left, top, width, height] for {key!r}, came {_short(value)}")
        left, top, width, height = (self._finite(key, number) for number in value)
        return left, top, width, height

    def _finite(self, key: str, value: object) -> float:
        # 1e15: integers beyond float range would overflow, and no image has such coordinates.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
            return float(value)
        raise self.error(f"expected finite numbers for {key!r}, came {_short(value)}")


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: expected an annotation file, there is none; check data.root") from None
    except OSError as error:
        raise InputError(f"{path}: expected an annotation file, could not read it ({error.strerror})") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise InputError(f"{path}: expected JSON, {error.msg} at {place}; was the file cut off?") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(
            f"{path}: expected JSON text ({type(error).__name__}: {error}); is it another file?"
        ) from error


def _short(value: object) -> str:
    """For a message; `repr` of the value may be a megabyte, and of a number of many digits is refused."""
    try:
        return f"{value!r:.100}"
    except (ValueError, RecursionError):
        return _kind(value)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _categories(path: Path, entries: list[_Entry]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for entry in entries:
        category_id, name = entry.integer("id", minimum=0), entry.text("name")
        if category_id in categories or name in categories.values():
            raise entry.error(f"expected distinct category ids and names, {category_id} {_short(name)} repeats one")
        categories[category_id] = name
    if not categories:
        raise InputError(f"{path}: expected at least one category, came none; list the classes under 'categories'")
    return dict(sorted(categories.items()))


def _images(path: Path, entries: list[_Entry]) -> dict[int, ImageEntry]:
    images: dict[int, ImageEntry] = {}
    for entry in entries:
        image_id = entry.integer("id", minimum=0)
        size = entry.integer("width", minimum=1), entry.integer("height", minimum=1)
        image = ImageEntry(image_id, entry.text("file_name"), *size)
        if image_id in images:
            files = f"{images[image_id].file_name:.100} and {image.file_name:.100}"
            raise entry.error(f"expected distinct image ids, {image_id} stands for {files}")
        images[image_id] = image
    if not images:
        raise InputError(f"{path}: expected at least one image, came none; is this the right file?")
    return images


def _annotation(entry: _Entry, *, images: dict[int, ImageEntry], categories: dict[int, str]) -> Annotation:
    annotation_id = entry.integer("id", minimum=0) if "id" in entry.item else None
    entry.place += "" if annotation_id is None else f" (id {annotation_id})"
    image_id, category_id = entry.integer("image_id", minimum=0), entry.integer("category_id", minimum=0)
    if image_id not in images:
        raise entry.error(f"expected an image_id listed under 'images', came {image_id}")
    if category_id not in categories:
        known = ", ".join(map(str, list(categories)[:10])) + (", ..." if len(categories) > 10 else "")
        raise entry.error(f"expected a category_id listed under 'categories' ({known}), came {category_id}")
    bbox = entry.box("bbox")
    area = entry.number("area") if "area" in entry.item else bbox[2] * bbox[3]
    if "area" in entry.item and area < 0:  # COCO's evaluation would pass over the object without a word
        raise entry.error(f"expected an area of at least 0, came {area:g}")
    crowd = entry.item.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise entry.error(f"expected 0 or 1 for 'iscrowd', came {_short(crowd)}")
    return Annotation(annotation_id, image_id, category_id, bbox, area, bool(crowd))
