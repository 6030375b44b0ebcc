"""One split as training or evaluation samples, and how samples become a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hydra_det.boxes import Letterbox
from hydra_det.data.cache import PixelCache, Pixels
from hydra_det.data.images import load_rgb
from hydra_det.data.samples import ImageRecord
from hydra_det.data.transforms import Augmentation, augment_image, letterbox_image, to_tensor
from hydra_det.types import Batch, Target

Sample = tuple[Tensor, Target]


class DetectionDataset(Dataset[Sample]):
    """Samples by (epoch, index); the augmentation is a function of (seed, epoch, image id), whoever asks when."""

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

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """The sample at (epoch, index). A bare index, as samplers other than ours give it, means epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        record = self.records[index]
        image = to_tensor(self._pixels(index))
        boxes, labels = record.boxes, record.labels
        if self.augmentation is None:
            pixels, letterbox = letterbox_image(image, self.image_size, greyscale=self.greyscale)
        else:
            pixels, letterbox, boxes, kept = augment_image(
                image,
                boxes,
                self.image_size,
                augmentation=self.augmentation,
                rng=np.random.default_rng([self.seed, epoch, record.image_id]),
                greyscale=self.greyscale,
            )
            boxes, labels = boxes[kept], labels[kept]
        return pixels, _target(record.image_id, boxes, labels, letterbox)

    def _pixels(self, index: int) -> Pixels:
        record = self.records[index]
        if self.cache is None:
            return load_rgb(record.path, size=(record.width, record.height))
        return self.cache.get(index, lambda: load_rgb(record.path, size=(record.width, record.height)))


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
