"""COCO's annotation files: text in, checked plain values out, one clear line for whatever is wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_det.data.checks.findings import Notes
from hydra_det.data.formats.assembly import ROUNDING, Annotation, AnnotationSet, ImageEntry, assemble
from hydra_det.data.formats.places import Pictures, inside
from hydra_det.data.samples import Split
from hydra_det.files.plain_values import LARGEST, is_text
from hydra_det.types import InputError

LEAST_SHARE = 0.1  # of its box that an object without an outline is thought to fill
TRIED = 20  # images that tell where the others are


def read_coco(
    root: Path,
    annotations: str,
    images: str | Sequence[str],
    *,
    name: str,
    strict: bool = False,
    keep_going: bool = False,
) -> Split:
    """Read an annotation file and look at every image file it names.

    Args:
        root: folder of the data set; nothing outside it is read.
        annotations: the annotation file, relative to `root`.
        images: the image folder, relative to `root`; file names are relative to it. Of several the first that holds
            an image of the file.
        name: of the split.
        strict: refuse a file with a box that would have to be clipped or dropped, and the like.
        keep_going: note what is refused instead of raising.
    """
    path = inside(root, annotations, what="the annotation file")
    candidates = [images] if isinstance(images, str) else images
    folders = [inside(root, candidate, what="the image folder") for candidate in candidates]
    notes = Notes(path, strict=strict, keep_going=keep_going)
    content = parse_coco(path, notes=notes)
    folder = folders[0] if len(folders) == 1 else _holding(root, folders, content)
    return assemble(content, root=root, folder=folder, name=name, notes=notes)


def _holding(root: Path, folders: Sequence[Path], content: AnnotationSet) -> Path:
    """The first folder with an image of the file, of the first ones: some may be missing."""
    for image in list(content.images.values())[:TRIED]:
        for folder in folders:
            if Pictures(root, folder).named(image.file_name, what="an image"):
                return folder
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def parse_coco(path: Path, *, notes: Notes) -> AnnotationSet:
    """Read and check an annotation file."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {_kind(content)}; is this a COCO annotation file?")
    entries = {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            got = f"got {_kind(content[key])}" if key in content else "the key is missing"
            raise InputError(f"{path}: expected a list under {key!r}, {got}; is this a COCO detection file?")
        entries[key] = [_Entry(path, f"{key}[{i}]", item) for i, item in enumerate(content[key])]
    categories = _categories(path, entries["categories"], used=_used(entries["annotations"]), notes=notes)
    images = _images(path, entries["images"])
    annotations: list[Annotation] = []
    for entry in entries["annotations"]:
        with notes.item():
            thing = _annotation(entry, images=images, categories=categories)
            annotations.append(thing)
            outlined = bool(entry.item.get("segmentation"))
            _check_area(thing, image=images[thing.image_id], outlined=outlined, notes=notes)
    return AnnotationSet(categories, images, annotations)


class _Entry:
    """One item of a list of the file; its getters refuse values of a wrong kind, naming file, item and key."""

    def __init__(self, path: Path, place: str, item: object) -> None:
        self.path, self.place = path, place
        if not isinstance(item, dict):
            raise self.error(f"expected a JSON object, got {_kind(item)}")
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
            raise self.error(f"expected an integer of at least {minimum} for {key!r}, got {_short(value)}")
        return value

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value or not is_text(value):
            raise self.error(f"expected a text for {key!r}, got {_short(value)}")
        return value

    def number(self, key: str) -> float:
        return self._finite(key, self.get(key))

    def box(self, key: str) -> tuple[float, float, float, float]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != 4:
            raise self.error(f"expected 4 numbers [left, top, width, height] for {key!r}, got {_short(value)}")
        left, top, width, height = (self._finite(key, number) for number in value)
        return left, top, width, height

    def _finite(self, key: str, value: object) -> float:
        # 1e15: integers beyond float range would overflow, and no image has such coordinates.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
            return float(value)
        raise self.error(f"expected finite numbers for {key!r}, got {_short(value)}")


def read_json(path: Path) -> object:
    """What a file of annotations holds."""
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


def _used(entries: list[_Entry]) -> set[object]:
    """The category ids of all annotations, whatever their kind."""
    found = (entry.item.get("category_id") for entry in entries)
    return {value for value in found if isinstance(value, int)}


def _categories(path: Path, entries: list[_Entry], *, used: set[object], notes: Notes) -> dict[int, str]:
    groups = {_short(entry.item.get("supercategory")) for entry in entries}
    names = [entry.item.get("name") for entry in entries]
    categories: dict[int, str] = {}
    for entry in entries:
        category_id, name = entry.integer("id", minimum=0), entry.text("name")
        # Tools write the group of the classes as a category, and a project is often called like its only class.
        if names.count(name) > 1 and category_id not in used and _is_group(entry, groups):
            notes.add("group", f"{path.name}: {entry.place}, id {category_id}, {_short(name)}")
            continue
        if category_id in categories or name in categories.values():
            raise entry.error(f"expected distinct category ids and names, {category_id} {_short(name)} repeats one")
        categories[category_id] = name
    if not categories:
        raise InputError(f"{path}: expected at least one category, got none; list the classes under 'categories'")
    return dict(sorted(categories.items()))


def _is_group(entry: _Entry, groups: set[str]) -> bool:
    name, above = entry.item["name"], entry.item.get("supercategory")
    return _short(name) in groups and above != name


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
        raise InputError(f"{path}: expected at least one image, got none; is this the right file?")
    return images


def _annotation(entry: _Entry, *, images: dict[int, ImageEntry], categories: dict[int, str]) -> Annotation:
    annotation_id = entry.integer("id", minimum=0) if "id" in entry.item else None
    entry.place += "" if annotation_id is None else f" (id {annotation_id})"
    image_id, category_id = entry.integer("image_id", minimum=0), entry.integer("category_id", minimum=0)
    if image_id not in images:
        raise entry.error(f"expected an image_id listed under 'images', got {image_id}")
    if category_id not in categories:
        known = ", ".join(map(str, list(categories)[:10])) + (", ..." if len(categories) > 10 else "")
        raise entry.error(f"expected a category_id listed under 'categories' ({known}), got {category_id}")
    bbox = entry.box("bbox")
    area = entry.number("area") if "area" in entry.item else bbox[2] * bbox[3]
    if "area" in entry.item and area < 0:  # COCO's evaluation would pass over the object without a word
        raise entry.error(f"expected an area of at least 0, got {area:g}")
    crowd = entry.item.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise entry.error(f"expected 0 or 1 for 'iscrowd', got {_short(crowd)}")
    return Annotation(annotation_id, image_id, category_id, bbox, area, bool(crowd))


def _check_area(annotation: Annotation, *, image: ImageEntry, outlined: bool, notes: Notes) -> None:
    """Note an area that the outline within the box cannot have: AP of small, medium and large objects goes by it."""
    _, _, width, height = annotation.bbox
    if annotation.crowd or width <= 0 or height <= 0:
        return
    # Files whose boxes are whole pixels have areas with another rounding. What is known without an outline is no less
    # than a thin line would have.
    least = 0.0 if outlined else LEAST_SHARE * width * height
    if not least < annotation.area <= (width + ROUNDING) * (height + ROUNDING):
        place = f"annotation {annotation.annotation_id} of {image.file_name}"
        notes.add("area", f"{place}: {annotation.area:g} in a box of {width:g}x{height:g}", image.image_id)
