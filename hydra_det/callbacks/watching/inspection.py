"""What TensorBoard shows beside the losses: pictures with boxes, masks and scores."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, CLEAN, PASSES
from hydra_det.callbacks.watching.mask_history import MaskHistory
from hydra_det.callbacks.watching.pictures import picture_of
from hydra_det.data.media.drawing import caption, side_by_side
from hydra_det.types import Batch, Detections


class Inspection(pl.Callback):
    """Writes pictures of the first validation images, and after every epoch the state of masks and scores.

    A picture is of one image, clean on the left and attacked on the right: `val/clean_vs_attacked`; `val/clean` where
    nothing is attacked. Where there are masks: `mask/sparsity`, and `mask/flips`, the share of the masks that changed
    since the epoch before. `layers/sparsity`, `layers/flips` and `layers/score_size`, the mean of |score|, are
    histograms in which every layer counts once.

    Args:
        images: how many are shown, of the first batch.
        confidence: lowest confidence of a drawn box.
        layers: write every layer by its name, too: `sparsity_of_layer/<layer>`, `flips_of_layer/<layer>` and
            `scores_of_layer/<layer>`, three a layer beside which other curves are hard to find.
    """

    def __init__(self, *, images: int = 4, confidence: float = 0.3, layers: bool = False) -> None:
        self.images = images
        self.confidence = confidence
        self._clean: dict[int, Image.Image] = {}  # by image, until their attacked versions come
        self._masks = MaskHistory(layers=layers)

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
        if batch_idx or trainer.logger is None:
            return
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        pictures = {
            target["image_id"]: picture_of(image, target, found, names, confidence=self.confidence)
            for image, target, found in zip(batch["images"][: self.images], batch["targets"], outputs, strict=False)
        }
        if PASSES[dataloader_idx] == CLEAN:
            self._clean = pictures
            return
        pairs = [
            side_by_side([caption(self._clean[key], CLEAN), caption(picture, ATTACKED)])
            for key, picture in pictures.items()
            if key in self._clean
        ]
        self._clean = {}
        _show(trainer, "val/clean_vs_attacked", pairs)

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # What is left had no attacked pass.
        _show(trainer, "val/clean", list(self._clean.values()))
        self._clean = {}

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.logger is not None:
            self._masks.begin(_writer(trainer), pl_module.get_submodule("net"), trainer.global_step)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.logger is not None:
            self._masks.go_on(_writer(trainer), pl_module.get_submodule("net"), trainer.global_step)

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A stage of no epoch never starts to train: what it did, it did when the fit began.
        if trainer.logger is not None and trainer.max_epochs == 0:
            self._masks.begin(_writer(trainer), pl_module.get_submodule("net"), trainer.global_step)
        self._masks.forget()


def _writer(trainer: pl.Trainer) -> Any:
    return trainer.logger.experiment  # type: ignore[union-attr]


def _show(trainer: pl.Trainer, name: str, pictures: Sequence[Image.Image]) -> None:
    """Pictures of equal size below one another."""
    if pictures:
        column = make_grid(torch.stack([pil_to_tensor(picture) for picture in pictures]), nrow=1)  # [3, H', W'] uint8
        _writer(trainer).add_image(name, column, trainer.global_step)
