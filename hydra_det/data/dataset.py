"""One split as training or evaluation samples, and how samples become a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hydra_det.boxes import Letterbox
from hydra_det.data.cache import PixelCache
from hydra_det.data.images import load_rgb
from hydra_det.data.mosaic import TILES, Labelled, mosaic
from hydra_det.data.sampler import SampleKey
from hydra_det.data.samples import ImageRecord
from hydra_det.data.transforms import Augmentation, augment_image, letterbox_image, to_tensor
from hydra_det.types import Batch, Pixels, Target

Sample = tuple[Tensor, Target]


class DetectionDataset(Dataset[Sample]):
    """Samples by `SampleKey`; the augmentation is a function of (seed, epoch, image id), whoever asks when."""

    def __init__(
        self,
        records: Sequence[ImageRecord],
        *,
        image_size: int,
        greyscale: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: PixelCache | None = None,
    ) -> None:
        """Without an `augmentation` every epoch shows the same inputs."""
        self.records = list(records)
        self.image_size = image_size
        self.greyscale = greyscale
        self.augmentation = augmentation
        self.seed = seed
        self.cache = cache

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int] | SampleKey | int) -> Sample:
        """The sample of a key. A bare index, as samplers other than ours give it, means epoch 0."""
        epoch, index, size = SampleKey(*key) if isinstance(key, tuple) else SampleKey(0, key)
        size = size or self.image_size
        record = self.records[index]
        if self.augmentation is None:
            pixels, letterbox = letterbox_image(self._image(index), size, greyscale=self.greyscale)
            return pixels, _target(record.image_id, record.boxes, record.labels, letterbox)
        return self._augmented(
            index, size, self.augmentation, np.random.default_rng([self.seed, epoch, record.image_id])
        )

    def pixels(self, index: int) -> Pixels:
        """The original picture. [H, W, 3] uint8 RGB; it may be kept for others, so nobody writes to it"""
        record = self.records[index]
        if self.cache is None:
            return load_rgb(record.path, size=(record.width, record.height))
        return self.cache.get(index, lambda: load_rgb(record.path, size=(record.width, record.height)))

    def _augmented(self, index: int, size: int, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
        made_of_four = augmentation.mosaic > 0 and rng.random() < augmentation.mosaic
        record = self.records[index]
        if made_of_four:
            indices = [index, *rng.integers(len(self), size=TILES - 1).tolist()]
            parts = [Labelled(self._image(i), self.records[i].boxes, self.records[i].labels) for i in indices]
            pixels, letterbox, boxes, labels = mosaic(
                parts, size, augmentation=augmentation, rng=rng, greyscale=self.greyscale
            )
        else:
            pixels, letterbox, boxes, kept = augment_image(
                self._image(index), record.boxes, size, augmentation=augmentation, rng=rng, greyscale=self.greyscale
            )
            boxes, labels = boxes[kept], record.labels[kept]
        return pixels, _target(record.image_id, boxes, labels, letterbox)

    def _image(self, index: int) -> Tensor:
        return to_tensor(self.pixels(index))


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of equal size as a batch."""
    return Batch(images=torch.stack([image for image, _ in samples]), targets=[target for _, target in samples])


def _target(image_id: int, boxes: np.ndarray, labels: np.ndarray, letterbox: Letterbox) -> Target:
    return Target(
        boxes=letterbox.to_input(torch.from_numpy(boxes)).float(),
        labels=torch.from_numpy(labels.copy()),
        image_id=image_id,
        letterbox=letterbox,
    )
