"""What only a whole training shows: that loss, assignment, decoding, suppression and scoring fit together."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from hydra_det.callbacks.detection_metrics import DetectionMetrics
from hydra_det.data.sources import CocoData
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.modules.detector import Detector
from hydra_det.modules.yolo.anchors import kmeans_anchors
from hydra_det.modules.yolo.loss import BOX_LOSSES, LossSettings
from hydra_det.modules.yolo.yolov3 import YOLOv3

REAL = Path(__file__).parents[2] / "shared" / "data" / "deeppcb"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the example images")
@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_eight_real_images_can_be_learnt_by_heart(box_loss):
    pl.seed_everything(0, verbose=False)
    file: dict[str, Any] = {"train_annotations": "annotations/instances_train.json", "train_images_dir": "images"}
    data = CocoData(
        root=REAL, test_annotations=file["train_annotations"], test_images_dir="images", **file, name="deeppcb",
        image_size=256, batch_size=8, train_images=8, test_images=8, flip=0.0, allow_overlap=True,
    )  # fmt: skip
    data.prepare()
    assert data.chosen_ids()["train"] == data.chosen_ids()["test"]
    anchors = [(float(width), float(height)) for width, height in kmeans_anchors(data.train_boxes(), 9, seed=0)]
    settings = LossSettings(box_loss=box_loss)
    net = YOLOv3(num_classes=data.num_classes, width=0.25, depth=0.125, anchors=anchors, loss=settings)
    optimizer = lambda groups: torch.optim.AdamW(groups, lr=2e-3)  # noqa: E731
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        max_epochs=200, gradient_clip_val=100.0, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **options,
    )  # fmt: skip
    detector = Detector(net, optimizer=optimizer, warmup_steps=20)
    trainer.fit(detector, train_dataloaders=data.train_dataloader())
    metrics = DetectionMetrics()
    pl.Trainer(callbacks=[metrics], enable_progress_bar=False, **options).test(detector, datamodule=data, verbose=False)
    assert (average_precision(data.ground_truth("test"), metrics.results["clean"])["map_50"] or 0) >= 0.95
