"""What TensorBoard shows beside the losses: pictures with boxes, sparsity and scores."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from torchvision.utils import make_grid

from hydra_det.callbacks.adversarial_batch import PASSES
from hydra_det.drawing import draw_boxes, draw_detections
from hydra_det.modules.masked_conv import masked_layers
from hydra_det.types import Batch, Detections, Target

READABLE = 320  # least side of a picture, pixels
WHITE = (255, 255, 255)


class Inspection(pl.Callback):
    """Writes pictures of the first validation images, clean and attacked, and the state of masks and scores.

    Args:
        images: how many pictures of a pass.
        confidence: lowest confidence of a drawn box.
    """

    def __init__(self, *, images: int = 4, confidence: float = 0.3) -> None:
        self.images = images
        self.confidence = confidence

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: list[Detections],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and trainer.logger is not None:
            names = trainer.datamodule.class_names  # type: ignore[attr-defined]
            pictures = [
                _draw(image, target, found, names, self.confidence)
                for image, target, found in zip(batch["images"][: self.images], batch["targets"], outputs, strict=False)
            ]
            writer: Any = trainer.logger.experiment  # type: ignore[attr-defined]
            grid = make_grid(torch.stack(pictures), nrow=2)  # [3, H', W'] uint8
            writer.add_image(f"val/{PASSES[dataloader_idx]}", grid, trainer.global_step)

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        layers = masked_layers(pl_module.get_submodule("net"))
        if not layers or trainer.logger is None:
            return
        writer: Any = trainer.logger.experiment  # type: ignore[attr-defined]
        for name, layer in layers:
            writer.add_scalar(f"sparsity/{name}", 1 - layer.mask.float().mean().item(), trainer.global_step)
            writer.add_histogram(f"scores/{name}", layer.scores.detach().float().cpu(), trainer.global_step)
        total = sum(layer.mask.numel() for _, layer in layers)
        kept = sum(int(layer.mask.sum()) for _, layer in layers)
        writer.add_scalar("sparsity/total", 1 - kept / total, trainer.global_step)


def _draw(image: Tensor, target: Target, found: Detections, names: list[str], confidence: float) -> Tensor:
    """[3, H, W] in [0, 1] -> [3, H', W'] uint8, large enough to read: objects in white, detections in colour."""
    scale = max(1, math.ceil(READABLE / image.shape[-1]))
    canvas = (image.detach().cpu() * 255).round().to(torch.uint8)
    canvas = canvas.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    picture = to_pil_image(canvas)
    truth = (target["boxes"] * scale).tolist()
    draw_boxes(picture, truth, target["labels"].tolist(), [""] * len(truth), colour=WHITE)
    shown = found.confidences >= confidence
    boxes, confidences, labels = (field[shown] for field in found)
    draw_detections(picture, (boxes * scale).tolist(), labels.tolist(), confidences.tolist(), class_names=names)
    return pil_to_tensor(picture)
