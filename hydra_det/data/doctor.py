"""What a data set holds and what is wrong with it: counts, and a sheet of images with their boxes to look at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hydra_det.data.images import load_rgb
from hydra_det.data.media.drawing import draw_boxes
from hydra_det.data.samples import ImageRecord, Split

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
        problems: a line for every box that was clipped or dropped, with its image.
    """

    images: int
    empty: int
    boxes: int
    crowds: int
    sizes: dict[str, int]
    classes: dict[str, int]
    sides: tuple[tuple[int, int], tuple[int, int]]
    problems: list[str]


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
        problems=[problem for _, problem in split.problems],
    )


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
