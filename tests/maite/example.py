"""Pictures of several sizes with crowds and areas of their own, and a network without weights that finds some of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hydra_det.data.sources import CocoData
from hydra_det.types import Detections, LossTerms, Target

SIZE = 64  # side of the network input
PICTURES = [(90, 60), (40, 100), (64, 64), (150, 131), (33, 64), (64, 37)]  # width, height
CATEGORIES = [{"id": 3, "name": "red"}, {"id": 9, "name": "green"}]
THRESHOLDS = (0.55, 0.65, 0.75, 0.85)  # the padding is 0.5, and an attack on it would cross the first


class Blobs(nn.Module):
    """Finds what is bright in the first and in the second channel, at several thresholds.

    The loss is the brightness around the objects less that within: an attack makes boxes grow and objects vanish.
    """

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images * self.gain]

    def losses(self, raw: list[Tensor], targets: list[Target]) -> LossTerms:
        return LossTerms(box=torch.stack([_loss(maps, target) for maps, target in zip(raw[0], targets, strict=True)]))

    def detections(self, raw: list[Tensor]) -> list[Detections]:
        return [_found(maps) for maps in raw[0]]


def _loss(maps: Tensor, target: Target) -> Tensor:
    weight = torch.ones_like(maps)
    for box, label in zip(target["boxes"].round().int().tolist(), target["labels"].tolist(), strict=True):
        weight[label, box[1] : box[3], box[0] : box[2]] = -1
    return (maps * weight).sum()


def _found(maps: Tensor) -> Detections:
    rows: list[tuple[list[float], float, int]] = []
    for label in range(Blobs.num_classes):
        for threshold in THRESHOLDS:
            bright = maps[label] > threshold
            if bright.any():
                down, across = bright.any(1).nonzero(), bright.any(0).nonzero()
                box = [float(across.min()), float(down.min()), float(across.max()) + 1, float(down.max()) + 1]
                rows.append((box, threshold, label))  # equal in many images: then their order counts
    rows.sort(key=lambda row: -row[1])
    boxes = torch.tensor([row[0] for row in rows]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows]).long())


def blobs_data(root: Path, **options: Any) -> CocoData:
    """Train and test images with a red and a green rectangle, which fade outwards and are annotated roughly."""
    root.mkdir(parents=True, exist_ok=True)
    # The ids of the file are not in order: equal confidences are ranked by them.
    for name, ids in (("train", [1]), ("test", [16, 11, 15, 12, 14, 13])):
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
        for image_id, (width, height) in zip(ids, PICTURES, strict=False):
            _draw(root / "images", content, image_id, width=width, height=height)
        (root / f"{name}.json").write_text(json.dumps(content))
    return CocoData(
        root=root, train_annotations="train.json", test_annotations="test.json", name="blobs", image_size=SIZE,
        batch_size=4, **options,
    )  # fmt: skip


def _draw(folder: Path, content: dict[str, Any], image_id: int, *, width: int, height: int) -> None:
    rng = np.random.default_rng(image_id)
    pixels = rng.integers(70, 110, size=(height, width, 3), dtype=np.uint8)
    for label, category in enumerate(CATEGORIES):
        left, top = (int(rng.integers(2, side // 4)) for side in (width, height))
        right, bottom = left + width // 2, top + height // 2
        for step, value in enumerate((150, 190, 230)):
            pixels[top + step : bottom - step, left + step : right - step, label] = value
        off = [float(shift) for shift in rng.uniform(-1.5, 1.5, size=4)]
        box = [left + off[0], top + off[1], right - left + off[2], bottom - top + off[3]]
        annotation = {
            "id": len(content["annotations"]) + 1,
            "image_id": image_id,
            "category_id": category["id"],
            "bbox": box,
            "area": 0.4 * box[2] * box[3],
            "iscrowd": int(label == 1 and image_id % 2 == 1),  # what is found here is neither right nor wrong
        }
        content["annotations"].append(annotation)
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{image_id}.png")
    content["images"].append({"id": image_id, "file_name": f"{image_id}.png", "width": width, "height": height})
