"""COCO AP of every evaluation pass, clean and attacked."""

from typing import Any

import pytorch_lightning as pl
import torch

from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, PASSES
from hydra_det.evaluation.coco_map import CocoResult, average_precision, coco_results
from hydra_det.types import Batch, Detections

LOGGED = ("map", "map_50")


class DetectionMetrics(pl.Callback):
    """Collects detections in coordinates of the original images and scores them when a pass is complete.

    Logs `val/map`, `val/map_50` and, for the attacked pass, `val/map_attacked`, `val/map_50_attacked`.

    Attributes:
        results: pass name -> COCO result dicts of the last evaluation, of all ranks.
    """

    def __init__(self) -> None:
        self.results: dict[str, list[CocoResult]] = {}
        self._found: dict[str, dict[int, list[CocoResult]]] = {}

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
    on_test_batch_end = on_validation_batch_end

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


def _gather(found: dict[int, list[CocoResult]]) -> dict[int, list[CocoResult]]:
    """The findings of all ranks, by image."""
    if not torch.distributed.is_initialized():
        return found
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, found)
    return {image: results for rank in ranks for image, results in rank.items()}
