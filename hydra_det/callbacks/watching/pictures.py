"""Pictures of what a network finds, clean and attacked, beside what is there."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from hydra_det.callbacks.hardening.adversarial_batch import PASSES
from hydra_det.data.media.drawing import draw_boxes, draw_detections
from hydra_det.types import Batch, Detections, Target

READABLE = 320  # least side of a picture, pixels
WHITE = (255, 255, 255)
JPEG_QUALITY = 90


def picture_of(
    image: Tensor, target: Target, found: Detections, names: Sequence[str], *, confidence: float
) -> Image.Image:
    """An image large enough to read: objects in white, detections in the colours of their classes.

    Args:
        image: [3, H, W] in [0, 1], the network input.
        target: what is there.
        found: what the network says.
        names: of the classes, by label.
        confidence: lowest one of a drawn box.
    """
    scale = max(1, math.ceil(READABLE / image.shape[-1]))
    canvas = (image.detach().cpu() * 255).round().to(torch.uint8)
    canvas = canvas.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    picture = to_pil_image(canvas)
    truth = (target["boxes"] * scale).tolist()
    draw_boxes(picture, truth, target["labels"].tolist(), [""] * len(truth), colour=WHITE)
    shown = found.confidences >= confidence
    boxes, confidences, labels = (field[shown] for field in found)
    draw_detections(picture, (boxes * scale).tolist(), labels.tolist(), confidences.tolist(), class_names=names)
    return picture


class SamplePictures(pl.Callback):
    """Writes pictures of some test images, the same ones for every network: `<image id>_clean.jpg`, `_attacked.jpg`.

    Args:
        folder: for the pictures.
        count: of the images; they are spread evenly over the test set.
        confidence: lowest one of a drawn box.
    """

    def __init__(self, folder: Path, *, count: int, confidence: float = 0.3) -> None:
        self.folder = folder
        self.count = count
        self.confidence = confidence
        self._chosen: set[int] = set()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._chosen = spread(trainer.datamodule.chosen_ids()["test"], self.count)  # type: ignore[attr-defined]

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: list[Detections],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        for image, target, found in zip(batch["images"], batch["targets"], outputs, strict=True):
            if (key := target["image_id"]) in self._chosen:
                left, top, width, height = target["letterbox"].content
                picture = picture_of(image, target, found, names, confidence=self.confidence)
                scale = picture.width // image.shape[-1]
                content = picture.crop(tuple(scale * edge for edge in (left, top, left + width, top + height)))
                self.folder.mkdir(parents=True, exist_ok=True)
                content.save(self.folder / f"{key}_{PASSES[dataloader_idx]}.jpg", quality=JPEG_QUALITY)


def spread(ids: Sequence[int], count: int) -> set[int]:
    """Some of the ids, evenly spread.

    Example:
        >>> sorted(spread(range(10, 20), 3))
        [11, 15, 18]
    """
    places = np.floor((np.arange(count) + 0.5) * len(ids) / max(1, count)).astype(int)
    return {ids[place] for place in places} if ids else set()
