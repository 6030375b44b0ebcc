"""From the annotations of any format, and the image files, to a `Split`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hydra_det.data.checks.findings import Notes
from hydra_det.data.formats.places import Pictures
from hydra_det.data.images import check_size
from hydra_det.data.samples import ImageRecord, Split
from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

# Genuine annotations overshoot the image by rounding; only more than this is called a fault.
ROUNDING = 1.0  # pixels


@dataclass(frozen=True)
class ImageEntry:
    """An image as the file lists it."""

    image_id: int
    file_name: str
    width: int  # pixels
    height: int
    path: Path | None = None  # of the file, where the reader has found it


@dataclass(frozen=True)
class Annotation:
    """An object as the file lists it."""

    annotation_id: int | None  # None where the file gives none
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # left, top, width, height in pixels of the original image
    area: float  # pixels; of the outline where the file knows it, else of the box
    crowd: bool
    place: str = ""  # file and line; "": the annotation id says it


@dataclass(frozen=True)
class AnnotationSet:
    """What the annotations of a split say, whatever their format."""

    categories: dict[int, str]  # by id, in label order
    images: dict[int, ImageEntry]  # in the order of the source
    annotations: list[Annotation]


def assemble(content: AnnotationSet, *, root: Path, folder: Path, name: str, notes: Notes) -> Split:
    """Join annotations with their image files, which are looked at (existence and header, not the pixels).

    Boxes are clipped to their image; boxes of no area or wholly outside are dropped, from the ground truth as well,
    since nothing could find them. An object that is listed twice is taken once: of two equal boxes one can be found.

    Args:
        content: of one split.
        root: folder of the data set; nothing outside it is read.
        folder: of the images; file names are relative to it.
        name: of the split.
        notes: what the reader found so far; what is found here is added, and all of it reported.
    """
    content = _merged(content, notes)
    files = _locate(root, folder, list(content.images.values()), notes=notes)
    content = _there(content, files)
    objects = _without_doubles(content, _repair(content, notes), notes)
    if content.images and not objects:
        notes.add("empty", f"{name}: {len(content.images)} images, and not one object")
    notes.report()
    return Split(
        name=name,
        records=_records(content, objects, files),
        class_names=list(content.categories.values()),
        category_ids=list(content.categories),
        ground_truth=_ground_truth(content, objects),
        # What concerns an image that is not among them concerns the split.
        findings=[f if f.image_id in content.images else f._replace(image_id=None) for f in notes.found],
    )


def _merged(content: AnnotationSet, notes: Notes) -> AnnotationSet:
    """One entry for each file: what another entry lists of it becomes part of the first."""
    first: dict[str, int] = {}
    stands_for: dict[int, int] = {}
    for image in content.images.values():
        kept = stands_for[image.image_id] = first.setdefault(_normal(image), image.image_id)
        if kept != image.image_id:
            notes.add("merged", f"{image.file_name}, listed under the ids {kept} and {image.image_id}", kept)
    if len(first) == len(content.images):
        return content
    images = {image_id: content.images[image_id] for image_id in first.values()}
    annotations = [replace(thing, image_id=stands_for[thing.image_id]) for thing in content.annotations]
    return replace(content, images=images, annotations=annotations)


def _normal(image: ImageEntry) -> str:
    return str(image.path or Path(image.file_name))


def _there(content: AnnotationSet, files: dict[int, tuple[Path, int]]) -> AnnotationSet:
    """The part of it whose images can be opened; all of it, unless the doctor goes on after a missing one."""
    if len(files) == len(content.images):
        return content
    images = {image_id: image for image_id, image in content.images.items() if image_id in files}
    return replace(content, images=images, annotations=[a for a in content.annotations if a.image_id in files])


@dataclass(frozen=True)
class _Object:
    """An annotation and its box after clipping, xyxy."""

    source: Annotation
    box: tuple[float, float, float, float]


def _locate(root: Path, folder: Path, images: Sequence[ImageEntry], *, notes: Notes) -> dict[int, tuple[Path, int]]:
    """Path and byte size of every image file that is there, by image id."""
    pictures = Pictures(root, folder)
    files: dict[int, tuple[Path, int]] = {}
    missing: list[Path] = []
    for image in images:
        with notes.item():
            file = image.path or _path(pictures, image, source=Path(notes.source).name)
            try:
                files[image.image_id] = file, file.stat().st_size
            except OSError as error:
                if is_of_machine(error):
                    raise
                missing.append(file)
    if missing and notes.keep_going:
        for file in missing:
            notes.add("refused", f"{file}: expected an image file, there is none")
    elif missing:
        raise InputError(
            f"{notes.source}: expected {len(images)} image files, {len(missing)} are missing, the first {missing[0]}; "
            + ("check the annotations" if folder.is_dir() else f"there is no folder {folder}")
        )
    checked: dict[int, tuple[Path, int]] = {}
    for image in images:
        if image.image_id in files:
            with notes.item():
                check_size(files[image.image_id][0], size=(image.width, image.height))
                checked[image.image_id] = files[image.image_id]
    return checked


def _path(pictures: Pictures, image: ImageEntry, *, source: str) -> Path:
    what = f"the file of image {image.image_id} of {source}"
    # The plain name first: it is what nearly all files hold, and the search looks at the disk.
    return pictures.named(image.file_name, what=what) or pictures.folder / image.file_name


def _repair(content: AnnotationSet, notes: Notes) -> list[_Object]:
    """Clip or drop the boxes that do not fit their image."""
    objects: list[_Object] = []
    dropped: list[Annotation] = []
    for annotation in content.annotations:
        image = content.images[annotation.image_id]
        left, top, width, height = annotation.bbox
        right, bottom = left + width, top + height
        box = (max(left, 0.0), max(top, 0.0), min(right, float(image.width)), min(bottom, float(image.height)))
        if width <= 0 or height <= 0 or box[2] <= box[0] or box[3] <= box[1]:
            dropped.append(annotation)
            continue
        overshoot = max(abs(new - old) for new, old in zip(box, (left, top, right, bottom), strict=True))
        if overshoot > ROUNDING:
            notes.add("clipped", _describe(content, annotation), annotation.image_id)
        objects.append(_Object(annotation, box))
    for annotation in dropped:
        notes.add("dropped", _describe(content, annotation), annotation.image_id)
    return objects


def _without_doubles(content: AnnotationSet, objects: Sequence[_Object], notes: Notes) -> list[_Object]:
    """Each object once; regions that are not scored may lie on each other."""
    seen: set[tuple[int, int, tuple[float, ...]]] = set()
    kept: list[_Object] = []
    for thing in objects:
        key = thing.source.image_id, thing.source.category_id, thing.box
        if not thing.source.crowd and key in seen:
            notes.add("doubled", _describe(content, thing.source), thing.source.image_id)
            continue
        if not thing.source.crowd:
            seen.add(key)
        kept.append(thing)
    return kept


def _describe(content: AnnotationSet, annotation: Annotation) -> str:
    image = content.images[annotation.image_id]
    place = annotation.place or f"annotation {annotation.annotation_id}"
    return f"{place} of {image.file_name} ({image.width}x{image.height}): {list(annotation.bbox)}"


def _records(
    content: AnnotationSet, objects: Sequence[_Object], files: dict[int, tuple[Path, int]]
) -> list[ImageRecord]:
    labels = {category_id: label for label, category_id in enumerate(content.categories)}
    found: dict[int, list[_Object]] = {image_id: [] for image_id in content.images}
    for thing in objects:
        if not thing.source.crowd:
            found[thing.source.image_id].append(thing)
    return [
        ImageRecord(
            image_id=image.image_id,
            path=files[image.image_id][0],
            file_name=image.file_name,
            byte_size=files[image.image_id][1],
            width=image.width,
            height=image.height,
            boxes=np.array([thing.box for thing in found[image.image_id]], dtype=np.float64).reshape(-1, 4),
            labels=np.array([labels[thing.source.category_id] for thing in found[image.image_id]], dtype=np.int64),
        )
        for image in content.images.values()
    ]


def _ground_truth(content: AnnotationSet, objects: Sequence[_Object]) -> dict[str, Any]:
    ids = [thing.source.annotation_id for thing in objects]
    # COCO's evaluation takes the id 0 for "unmatched" and looks annotations up by id: such files get ids of our own.
    keep = all(ids) and len(set(ids)) == len(ids)
    return {
        "info": {},
        "images": [
            {"id": image.image_id, "file_name": image.file_name, "width": image.width, "height": image.height}
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
