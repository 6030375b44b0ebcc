"""A data module and trainers for one or two steps on tiny images."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.plugins.precision import Precision
from torch.utils.data import DataLoader

from hydra_det.modules.detector import Detector
from hydra_det.types import Batch, Target
from tests.modules.example import SIZE, batch

STAGES = Path(__file__).parents[2] / "conf" / "stage"
CATEGORY_IDS = [7, 3]


class TinyData(pl.LightningDataModule):
    """Batches of two random images, the same in every epoch."""

    category_ids = CATEGORY_IDS
    class_names = ("seven", "three")
    image_size = SIZE

    def __init__(self, batches: int = 1, *, passes: int = 0) -> None:
        super().__init__()
        self.batches = [batch(seed=seed) for seed in range(batches)]
        self.passes = passes

    def train_dataloader(self) -> Any:
        return _loader(self.batches)

    def sample_loader(self, images: int, *, batch_size: int) -> Any:
        assert (images, batch_size) == (6, 2)
        return _loader(self.batches)

    def val_dataloader(self) -> Any:
        return [_loader(self.batches[:1]) for _ in range(self.passes)]

    test_dataloader = val_dataloader

    def ground_truth(self, split: str) -> dict[str, Any]:
        """In COCO form; the images need no letterbox, so that boxes are those of the targets."""
        return coco_form(self.batches[0]["targets"])


def coco_form(targets: Sequence[Target]) -> dict[str, Any]:
    """The targets of images that fill the network input, as COCO writes them."""
    annotations: list[dict[str, Any]] = []
    for truth in targets:
        for (x1, y1, x2, y2), label in zip(truth["boxes"].tolist(), truth["labels"].tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": truth["image_id"],
                    "category_id": CATEGORY_IDS[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": truth["image_id"], "width": 64, "height": 64} for truth in targets],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in CATEGORY_IDS],
    }


def _loader(batches: list[Batch]) -> DataLoader[Any]:
    copies = [Batch(images=made["images"].clone(), targets=made["targets"]) for made in batches]
    return DataLoader(copies, batch_size=None, num_workers=0)  # type: ignore[arg-type]


def trainer(*callbacks: pl.Callback, **arguments: Any) -> pl.Trainer:
    """Lightning's, quiet and on the CPU."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **{"max_epochs": 1, "inference_mode": False, "enable_checkpointing": False, **arguments},
    )


def detector(net: Any, *, lr: float = 1e-2) -> Detector:
    """With AdamW and the weight decay of the configs."""
    return Detector(net, optimizer=lambda groups: torch.optim.AdamW(groups, lr=lr, weight_decay=5e-4))


def fake_trainer(**state: Any) -> Any:
    """What a callback asks its trainer, without a trainer."""
    known = {"global_step": 0, "global_rank": 0, "current_epoch": 0, "precision_plugin": Precision()}
    return SimpleNamespace(**{**known, **state})


def learning_parts(stage: str) -> Any:
    """What a stage lets learn, as its config says."""
    config: Any = OmegaConf.load(STAGES / f"{stage}.yaml")
    return list(config.callbacks.freeze.train)
