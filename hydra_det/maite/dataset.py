"""A split of our data as a MAITE data set for object detection."""

from collections import defaultdict
from typing import Any

import numpy as np
from maite.protocols import DatasetMetadata
from numpy.typing import NDArray
from torchvision.ops import box_convert

from hydra_det.boxes import Letterbox
from hydra_det.data.datamodule import DetectionData
from hydra_det.maite.objects import ImageMetadata, Objects, Truth, as_boxes
from hydra_det.types import InputError

Item = tuple[NDArray[Any], Truth, ImageMetadata]


class MaiteDataset:
    """Images, what is in them, and their metadata; boxes are in pixels of the image that they come with.

    By default an image is what a network sees: letterboxed, [3, S, S] float32 in [0, 1]. Its metadata say by
    `letterbox` how the original was placed in it, so `MaiteMetric` counts AP in the original's pixels, as
    `hydra_det.evaluate` does, and attacks leave the padding alone. What moves pixels, such as a crop or a turn, must
    take `letterbox` out of the metadata; better, let it work on pictures.

    Args:
        data: read when it is asked for.
        split: `train`, `val` or `test`; without augmentation.
        pictures: the images are the originals, [3, H, W] uint8 of their own sizes.

    Attributes:
        metadata: the name of the data and the split, and the names of classes by label.
    """

    metadata: DatasetMetadata

    def __init__(self, data: DetectionData, split: str = "test", *, pictures: bool = False) -> None:
        if split not in data.splits:
            raise InputError(f"split: expected one of {', '.join(data.splits)}, got {split!r}")
        self.samples = data.dataset(split)
        self.pictures = pictures
        self.metadata = DatasetMetadata(id=f"{data.name}/{split}", index2label=dict(enumerate(data.class_names)))
        self._labels = {category: label for label, category in enumerate(data.category_ids)}
        self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in data.ground_truth(split)["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, ind: int, /) -> Item:
        """An image, what is in it, and its metadata: its `id` in the data set and, of a letterboxed one, `letterbox`.

        Raises:
            IndexError: there is no such image.
        """
        ind = range(len(self))[ind]
        image_id = self.samples.records[ind].image_id
        if self.pictures:
            image = np.array(self.samples.pixels(ind).transpose(2, 0, 1), order="C")  # [3, H, W], a copy
            return image, self._truth(image_id, None), ImageMetadata(id=image_id)
        pixels, target = self.samples[ind]
        letterbox = target["letterbox"]
        return pixels.numpy(), self._truth(image_id, letterbox), ImageMetadata(id=image_id, letterbox=letterbox)

    def _truth(self, image_id: int, letterbox: Letterbox | None) -> Truth:
        """Of the annotations of an image, in pixels of its original or of the network input."""
        found: list[list[dict[str, Any]]] = [[], []]
        for annotation in self._annotations[image_id]:
            found[annotation["iscrowd"]].append(annotation)
        objects, crowds = (self._objects(annotations, letterbox) for annotations in found)
        areas = np.array([annotation["area"] for annotation in found[0]], dtype=np.float64)
        return Truth(objects.boxes, objects.labels, objects.scores, areas, crowds)

    def _objects(self, annotations: list[dict[str, Any]], letterbox: Letterbox | None) -> Objects:
        boxes = box_convert(as_boxes([annotation["bbox"] for annotation in annotations]), "xywh", "xyxy")
        return Objects(
            boxes=(boxes if letterbox is None else letterbox.to_input(boxes)).numpy(),
            labels=np.array([self._labels[annotation["category_id"]] for annotation in annotations], dtype=np.int64),
            scores=np.ones(len(annotations), dtype=np.float32),
        )
