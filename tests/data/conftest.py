"""A tiny data set in COCO form, written anew for each test that wants to spoil it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.sources import CocoData

Content = dict[str, Any]


def make_content(ids: range, *, folder: Path, size: tuple[int, int] = (48, 32)) -> Content:
    """Noise images with one box each; the categories 3, 7 and 90 have gaps and are not in order."""
    folder.mkdir(parents=True, exist_ok=True)
    content: Content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 7, "name": "bird"}],
    }
    for number, image_id in enumerate(ids):
        pixels = np.random.default_rng(image_id).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
        content["images"].append({"id": image_id, "file_name": f"{image_id}.png", "width": size[0], "height": size[1]})
        content["annotations"].append(
            {
                "id": 100 + image_id,
                "image_id": image_id,
                "category_id": (90, 3, 7)[number % 3],
                "bbox": [4, 5, 20, 10],
                "area": 150.5,
                "iscrowd": 0,
            }
        )
    return content


@dataclass
class Files:
    """A data set folder and what its annotation files will hold."""

    root: Path
    train: Content
    test: Content

    def write(self) -> "Files":
        (self.root / "train.json").write_text(json.dumps(self.train))
        (self.root / "test.json").write_text(json.dumps(self.test))
        return self

    def data(self, **options: Any) -> CocoData:
        """A data module over the folder."""
        where = {"train_annotations": "train.json", "test_annotations": "test.json"}
        return CocoData(root=self.root, **{**where, "name": "tiny", "image_size": 64, "batch_size": 4, **options})


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """10 training and 5 test images."""
    root = tmp_path / "set"
    train = make_content(range(1, 11), folder=root / "images")
    return Files(root, train, make_content(range(21, 26), folder=root / "images")).write()
