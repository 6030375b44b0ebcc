"""What a data set is once read: one record per image, one split per annotation file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.boxes import Letterbox
from hydra_det.data.checks.findings import Finding


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image and the objects to be learnt in it; crowd regions are not among them."""

    image_id: int
    path: Path
    file_name: str  # as the annotation file writes it, relative to the image folder
    byte_size: int  # of the file
    width: int  # pixels, as annotated
    height: int
    boxes: NDArray[np.float64]  # [N, 4] xyxy in pixels of the original image, inside it
    labels: NDArray[np.int64]  # [N] in [0, number of classes)


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, and the ground truth they are scored against.

    `ground_truth` is a COCO-form dict (images, annotations, categories): category ids as in the file, gaps included;
    crowd regions with `iscrowd` 1; the file's own `area` of every annotation; boxes clipped to the image.
    """

    name: str
    records: list[ImageRecord]
    class_names: list[str]  # by label
    category_ids: list[int]  # by label: the data set's own category id
    ground_truth: dict[str, Any]
    findings: list[Finding]  # everything that was not taken as it stands in the files

    @property
    def problems(self) -> list[tuple[int | None, str]]:
        """Image id and a line for every finding."""
        return [(finding.image_id, f"{finding.kind}: {finding.text}") for finding in self.findings]

    @property
    def image_ids(self) -> list[int]:
        """The image ids in the order of the records."""
        return [record.image_id for record in self.records]

    def restricted(self, image_ids: Iterable[int], *, name: str | None = None) -> "Split":
        """The same split with only the images named, in the order of the file."""
        wanted = set(image_ids)
        truth = dict(self.ground_truth)
        truth["images"] = [image for image in truth["images"] if image["id"] in wanted]
        truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] in wanted]
        records = [record for record in self.records if record.image_id in wanted]
        # What concerns no single image stays where it was read.
        kept = wanted if name else {*wanted, None}
        findings = [finding for finding in self.findings if finding.image_id in kept]
        return replace(self, name=name or self.name, records=records, ground_truth=truth, findings=findings)


def box_sizes(records: Sequence[ImageRecord], image_size: int) -> Tensor:
    """Width and height of all boxes in pixels of a network input of this size, without augmentation. [N, 2] float32"""
    corners = [
        Letterbox(image_size, record.height, record.width).to_input(torch.from_numpy(record.boxes))
        for record in records
    ]
    boxes = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *corners])  # [N, 4]
    return (boxes[:, 2:] - boxes[:, :2]).float()
