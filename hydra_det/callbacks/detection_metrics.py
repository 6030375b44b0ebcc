"""COCO AP of every evaluation pass, clean and attacked."""

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch

from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, PASSES
from hydra_det.evaluation.coco_map import CocoResult, average_precision, coco_results, only_images
from hydra_det.types import Batch, Detections

LOGGED = ("map", "map_50")
SO_FAR = 5.0  # seconds between two looks at AP, at least


class DetectionMetrics(pl.Callback):
    """Collects detections in coordinates of the original images and scores them when a pass is complete.

    Logs `val/map`, `val/map_50` and, for the attacked pass, `val/map_attacked`, `val/map_50_attacked`.

    Args:
        show: is told now and then in a test pass what the AP of the images is that it has seen; None: nobody is.

    Attributes:
        results: pass name -> COCO result dicts of the last evaluation, of all ranks.
    """

    def __init__(self, *, show: Callable[[str], None] | None = None) -> None:
        self.show = show
        self.results: dict[str, list[CocoResult]] = {}
        self._found: dict[str, dict[int, list[CocoResult]]] = {}
        self._due = 0.0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._found = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: list[Detections],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        found = self._found.setdefault(PASSES[dataloader_idx], {})
        category_ids = trainer.datamodule.category_ids  # type: ignore[attr-defined]
        for target, detections in zip(batch["targets"], outputs, strict=True):
            # On the CPU: not every device has float64.
            boxes, confidences, labels = (tensor.cpu() for tensor in detections)
            original = target["letterbox"].to_original(boxes.double())
            # An image that two ranks saw counts once.
            found[target["image_id"]] = coco_results(
                target["image_id"], Detections(original, confidences, labels), category_ids=category_ids
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish(trainer, pl_module, split="val")

    on_test_epoch_start = on_validation_epoch_start

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: list[Detections],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        if self.show is not None and time.monotonic() >= self._due:
            self._show_so_far(trainer, PASSES[dataloader_idx], self.show)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish(trainer, pl_module, split="test")

    def _finish(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, split: str) -> None:
        ground_truth = trainer.datamodule.ground_truth(split)  # type: ignore[attr-defined]
        self.results = {}
        for name, found in self._found.items():
            by_image = _gather(found)
            self.results[name] = [result for image in sorted(by_image) for result in by_image[image]]
            ap = average_precision(ground_truth, self.results[name])
            suffix = "_attacked" if name == ATTACKED else ""
            for key in LOGGED:
                value = ap[key]  # type: ignore[literal-required]
                if value is not None:
                    pl_module.log(f"{split}/{key}{suffix}", value, rank_zero_only=True)

    def _show_so_far(self, trainer: pl.Trainer, name: str, show: Callable[[str], None]) -> None:
        """AP of the images seen; no more of the time goes into that than a twentieth."""
        start = time.monotonic()
        seen = self._found[name]
        truth = only_images(trainer.datamodule.ground_truth("test"), seen)  # type: ignore[attr-defined]
        ap = average_precision(truth, [result for results in seen.values() for result in results])["map"]
        if ap is not None:
            show(f"{name}: AP {ap:.3f} of {len(seen)} images")
        now = time.monotonic()
        self._due = now + max(SO_FAR, 20 * (now - start))


def _gather(found: dict[int, list[CocoResult]]) -> dict[int, list[CocoResult]]:
    """The findings of all ranks, by image."""
    if not torch.distributed.is_initialized():
        return found
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, found)
    return {image: results for rank in ranks for image, results in rank.items()}
