"""What TensorBoard shows beside the losses: pictures with boxes, sparsity and scores."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

from hydra_det.callbacks.adversarial_batch import PASSES
from hydra_det.callbacks.pictures import picture_of
from hydra_det.modules.masked_conv import masked_layers
from hydra_det.types import Batch, Detections


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
                pil_to_tensor(picture_of(image, target, found, names, confidence=self.confidence))
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
