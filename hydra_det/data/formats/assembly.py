"""From the annotations of any format, and the image files, to a `Split`."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydra_det.data.images import check_size
from hydra_det.data.samples import ImageRecord, Split
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

# Genuine annotations overshoot the image by rounding; only more than this is called a fault.
ROUNDING = 1.0  # pixels
LONGEST_NAME, LONGEST_PATH = 255, 1000  # bytes of a name in a folder, on nearly every file system, and of a path below

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageEntry:
    """An image as the file lists it."""

    image_id: int
    file_name: str
    width: int  # pixels
    height: int


@dataclass(frozen=True)
class Annotation:
    """An object as the file lists it."""

    annotation_id: int | None  # None where the file gives none
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # left, top, width, height in pixels of the original image
    area: float  # pixels; of the outline where the file knows it, else of the box
    crowd: bool


@dataclass(frozen=True)
class AnnotationSet:
    """What the annotations of a split say, whatever their format."""

    categories: dict[int, str]  # by id, in label order
    images: dict[int, ImageEntry]  # in the order of the source
    annotations: list[Annotation]


def assemble(
    content: AnnotationSet, *, root: Path, folder: Path, source: Path, name: str, strict: bool = False
) -> Split:
    """Join annotations with their image files, which are looked at (existence and header, not the pixels).

    Boxes are clipped to their image; boxes of no area or wholly outside are dropped, from the ground truth as well,
    since nothing could find them. Both are counted and reported in one warning.

    Args:
        content: of one split.
        root: folder of the data set; nothing outside it is read.
        folder: of the images; file names are relative to it.
        source: the file or folder that the annotations come from, for messages.
        name: of the split.
        strict: refuse a box that would have to be clipped or dropped.
    """
    files = _locate(root, folder, list(content.images.values()), path=source)
    objects, problems = _repair(content, path=source, strict=strict)
    return Split(
        name=name,
        records=_records(content, objects, files),
        class_names=list(content.categories.values()),
        category_ids=list(content.categories),
        ground_truth=_ground_truth(content, objects),
        problems=problems,
    )


def inside(root: Path, relative: str, *, what: str, folder: Path | None = None) -> Path:
    """The path of a file of the data set; refuses one outside `root`. Links within the data set are followed."""
    base = Path(os.path.normpath(root))
    if not base.is_dir():
        raise InputError(f"data.root: expected the folder of a data set, there is no folder {root}")
    path = Path(os.path.normpath((folder or base) / relative))
    if not path.is_relative_to(base):
        raise InputError(
            f"{relative:.200}: expected {what} inside {root}, came a path that leaves it; use a relative path"
        )
    if "\0" in relative or _is_too_long(relative):
        raise InputError(f"{relative!r:.200}: expected {what}, came a name that no file can have; correct it")
    return path


def _is_too_long(relative: str) -> bool:
    sizes = [len(part.encode(errors="replace")) for part in Path(relative).parts]
    return max(sizes, default=0) > LONGEST_NAME or sum(sizes) > LONGEST_PATH


@dataclass(frozen=True)
class _Object:
    """An annotation and its box after clipping, xyxy."""

    source: Annotation
    box: tuple[float, float, float, float]


def _locate(root: Path, folder: Path, images: Sequence[ImageEntry], *, path: Path) -> list[tuple[Path, int]]:
    """Path and byte size of every image file."""
    files: list[tuple[Path, int]] = []
    missing: list[Path] = []
    for image in images:
        file = inside(root, image.file_name, what=f"the file of image {image.image_id} of {path.name}", folder=folder)
        try:
            files.append((file, file.stat().st_size))
        except OSError as error:
            if is_of_machine(error):
                raise
            missing.append(file)
    if missing:
        raise InputError(
            f"{path}: expected {len(images)} image files, {len(missing)} are missing, the first {missing[0]}; "
            + ("check the annotations" if folder.is_dir() else f"there is no folder {folder}")
        )
    for image, (file, _) in zip(images, files, strict=True):
        check_size(file, size=(image.width, image.height))
    return files


def _repair(content: AnnotationSet, *, path: Path, strict: bool) -> tuple[list[_Object], list[tuple[int, str]]]:
    """Clip or drop the boxes that do not fit their image."""
    objects: list[_Object] = []
    faults: dict[str, list[Annotation]] = {"clipped": [], "dropped": []}
    for annotation in content.annotations:
        image = content.images[annotation.image_id]
        left, top, width, height = annotation.bbox
        right, bottom = left + width, top + height
        box = (max(left, 0.0), max(top, 0.0), min(right, float(image.width)), min(bottom, float(image.height)))
        if width <= 0 or height <= 0 or box[2] <= box[0] or box[3] <= box[1]:
            faults["dropped"].append(annotation)
            continue
        overshoot = max(abs(new - old) for new, old in zip(box, (left, top, right, bottom), strict=True))
        if overshoot > ROUNDING:
            faults["clipped"].append(annotation)
        objects.append(_Object(annotation, box))
    problems = [
        (annotation.image_id, f"{kind}: {_describe(content, annotation)}")
        for kind, found in faults.items()
        for annotation in found
    ]
    if problems:
        _report(content, faults, path=path, strict=strict)
    return objects, problems


def _report(content: AnnotationSet, faults: dict[str, list[Annotation]], *, path: Path, strict: bool) -> None:
    first = next(found[0] for found in faults.values() if found)
    text = (
        f"{path}: expected boxes inside their images, {len(faults['clipped'])} reach outside (clipped) and "
        f"{len(faults['dropped'])} have no area or lie outside (dropped); the first is "
        f"{_describe(content, first)}"
    )
    if strict:
        raise InputError(f"{text}; correct them, or set data.strict=false")
    log.warning(text)


def _describe(content: AnnotationSet, annotation: Annotation) -> str:
    image = content.images[annotation.image_id]
    place = f"annotation {annotation.annotation_id} of {image.file_name} ({image.width}x{image.height})"
    return f"{place}: {list(annotation.bbox)}"


def _records(
    content: AnnotationSet, objects: Sequence[_Object], files: Sequence[tuple[Path, int]]
) -> list[ImageRecord]:
    labels = {category_id: label for label, category_id in enumerate(content.categories)}
    found: dict[int, list[_Object]] = {image_id: [] for image_id in content.images}
    for thing in objects:
        if not thing.source.crowd:
            found[thing.source.image_id].append(thing)
    return [
        ImageRecord(
            image_id=image.image_id,
            path=file,
            file_name=image.file_name,
            byte_size=byte_size,
            width=image.width,
            height=image.height,
            boxes=np.array([thing.box for thing in found[image.image_id]], dtype=np.float64).reshape(-1, 4),
            labels=np.array([labels[thing.source.category_id] for thing in found[image.image_id]], dtype=np.int64),
        )
        for image, (file, byte_size) in zip(content.images.values(), files, strict=True)
    ]


def _ground_truth(content: AnnotationSet, objects: Sequence[_Object]) -> dict[str, Any]:
    ids = [thing.source.annotation_id for thing in objects]
    # COCO's evaluation takes the id 0 for "unmatched" and looks annotations up by id: such files get ids of our own.
    keep = all(ids) and len(set(ids)) == len(ids)
    return {
        "info": {},
        "images": [
            {"id": image.image_id, **{key: value for key, value in asdict(image).items() if key != "image_id"}}
            for image in content.images.values()
        ],
        "annotations": [
            {
                "id": thing.source.annotation_id if keep else number,
                "image_id": thing.source.image_id,
                "category_id": thing.source.category_id,
                "bbox": [thing.box[0], thing.box[1], thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]],
                "area": thing.source.area,
                "iscrowd": int(thing.source.crowd),
            }
            for number, thing in enumerate(objects, start=1)
        ],
        "categories": [{"id": category_id, "name": name} for category_id, name in content.categories.items()],
    }
