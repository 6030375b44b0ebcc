"""What a data set holds and what is wrong with it: counts, and a sheet of images with their boxes to look at."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from hydra_det.data.checks.decoding import Decoded, Memory, decode_all
from hydra_det.data.checks.findings import KINDS, REFUSED, Finding, sentences
from hydra_det.data.formats.splits import equal_files
from hydra_det.data.images import load_rgb
from hydra_det.data.media.drawing import draw_boxes
from hydra_det.data.samples import ImageRecord, Split
from hydra_det.files.atomic import write_atomically

# COCO's bounds: areas in square pixels of the original image.
SMALL, MEDIUM = 32**2, 96**2


@dataclass(frozen=True)
class Findings:
    """What one split holds.

    Attributes:
        images: number of images.
        empty: of them without any object to learn.
        boxes: objects to learn.
        crowds: regions that are neither learnt nor scored.
        sizes: objects by COCO's size: small below 32², medium below 96², large.
        classes: objects by class name, all classes, in label order.
        sides: smallest and largest width and height of an image, pixels.
        problems: a line for everything that is wrong, with its place.
        kinds: a line for each kind of finding with its count, those that are no problem as well.
        refused: how many of the problems training would refuse.
    """

    images: int
    empty: int
    boxes: int
    crowds: int
    sizes: dict[str, int]
    classes: dict[str, int]
    sides: tuple[tuple[int, int], tuple[int, int]]
    problems: list[str]
    kinds: list[str]
    refused: int


def examine(split: Split) -> Findings:
    """Count what a split holds."""
    records = split.records
    boxes = np.concatenate([record.boxes for record in records]) if records else np.zeros((0, 4))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    labels = Counter(int(label) for record in records for label in record.labels)
    small, medium = int((areas < SMALL).sum()), int(((areas >= SMALL) & (areas < MEDIUM)).sum())
    widths, heights = ([getattr(record, side) for record in records] or [0] for side in ("width", "height"))
    return Findings(
        images=len(records),
        empty=sum(not len(record.boxes) for record in records),
        boxes=len(boxes),
        # A region in which no class counts stands there once for each of them.
        crowds=len(
            {(entry["image_id"], *entry["bbox"]) for entry in split.ground_truth["annotations"] if entry["iscrowd"]}
        ),
        sizes={"small": small, "medium": medium, "large": len(boxes) - small - medium},
        classes={name: labels[label] for label, name in enumerate(split.class_names)},
        sides=((min(widths), max(widths)), (min(heights), max(heights))),
        problems=[f"{kind}: {text}" for kind, text, _ in split.findings if KINDS[kind].strict],
        kinds=[words for _, words in sentences(split.findings)],
        refused=sum(finding.kind == REFUSED for finding in split.findings),
    )


def look_closely(split: Split, *, headers: bool, memory: Path | None, watch: Callable[..., Iterable[Decoded]]) -> Split:
    """The split with what shows only when its pictures are decoded and compared, without those that are broken.

    Args:
        split: as it was read.
        headers: read the headers of pictures only.
        memory: folder in which the whole ones are remembered, so that training need not decode them again.
        watch: passes on what it is given, of which there are `total`, and shows how far it is.
    """
    keep = None if headers or memory is None else Memory(memory, split.records)
    seen = list(watch(decode_all(split.records, headers=headers, memory=keep), total=len(split.records)))
    found = [finding for one in seen for finding in one.findings]
    found += [Finding("twin", f"{first} and {second}") for first, second in equal_files(split)]
    left = split.restricted({*split.image_ids} - {one.record.image_id for one in seen if one.refused})
    return replace(left, findings=[*split.findings, *found])


def write_findings(file: Path, splits: Mapping[str, Split]) -> None:
    """Everything that was found, a line each."""
    lines = [f"{name}: {problem}\n" for name, split in splits.items() for _, problem in split.problems]
    write_atomically(file, "".join(lines))


def write_sheets(folder: Path, splits: Mapping[str, Split], *, pictures: int) -> None:
    """A contact sheet of each split with images, of so many from all over it."""
    for name, split in splits.items():
        chosen = split.records[:: max(1, len(split.records) // pictures)][:pictures]
        if chosen:
            contact_sheet(chosen, split.class_names).save(folder / f"{name}.png")


def contact_sheet(
    records: Sequence[ImageRecord], class_names: Sequence[str], *, side: int = 320, columns: int = 4
) -> Image.Image:
    """Images with their boxes and class names, `columns` in a row, each fitted into a square of `side` pixels."""
    rows = -(-len(records) // columns)
    sheet = Image.new("RGB", (columns * side, max(1, rows) * side), "#808080")
    for number, record in enumerate(records):
        row, column = divmod(number, columns)
        sheet.paste(_drawn(record, class_names, side), (column * side, row * side))
    return sheet


def _drawn(record: ImageRecord, class_names: Sequence[str], side: int) -> Image.Image:
    scale = side / max(record.width, record.height)
    size = max(1, round(record.width * scale)), max(1, round(record.height * scale))
    image = Image.fromarray(load_rgb(record.path, size=(record.width, record.height))).resize(size)
    draw_boxes(image, (record.boxes * scale).tolist(), record.labels.tolist(), [class_names[i] for i in record.labels])
    return image
