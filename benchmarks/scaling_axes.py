"""What is timed in turns in one process as it grows: images, their size, channels, batches, loading workers."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.command import Command
from benchmarks.subjects import network, optimizer_of, random_batch
from benchmarks.training_step import our_step
from hydra_det.data.datamodule import DetectionData
from hydra_det.evaluation.coco_map import average_precision, coco_results
from hydra_det.types import Batch

MODEL, WIDTH, SIZE, BATCH = "yolov3_nano", 0.125, 96, 8  # where another axis is measured
IMAGES = (16, 32, 64, 128)
SIZES = (64, 96, 128, 192, 256)
WIDTHS = (0.125, 0.25, 0.5, 1.0)
BATCHES = (1, 2, 4, 8, 16)
WORKERS = (0, 1, 2)
LARGE, LOADED = 416, 96  # pixels and number of the images that workers load


class Axis(NamedTuple):
    """One question.

    Attributes:
        label: of what grows.
        cost: of what is timed.
        steps: by value.
        fits: a power law is fitted.
    """

    label: str
    cost: str
    steps: dict[float, Callable[[], object]]
    fits: bool = True


def image_size(device: str, folder: Path) -> Axis:
    """A training step against the side of its images."""
    return Axis(
        "side of the images, px",
        f"a training step, batch {BATCH}",
        {size: our_step(_network(device), random_batch(BATCH, size, device)) for size in SIZES},
    )


def width(device: str, folder: Path) -> Axis:
    """A training step against the channels of the network."""
    batch = random_batch(BATCH, SIZE, device)
    return Axis(
        "channels, of YOLOv3's",
        f"a training step, batch {BATCH}, {SIZE} px",
        {share: our_step(_network(device, width=share), batch) for share in WIDTHS},
    )


def batch_size(device: str, folder: Path) -> Axis:
    """A training step against the number of its images."""
    return Axis(
        "images a step",
        f"a training step, {SIZE} px",
        {count: our_step(_network(device), random_batch(count, SIZE, device)) for count in BATCHES},
    )


def epoch(device: str, folder: Path) -> Axis:
    """An epoch of training, loading included, against the number of images."""
    return Axis(
        "training images",
        f"an epoch, batch {BATCH}, {SIZE} px",
        {count: _epoch(_data(folder, f"data.train_images={count}"), device) for count in IMAGES},
    )


def evaluation(device: str, folder: Path) -> Axis:
    """Loading, forward, decode, suppression and AP of clean images against their number."""
    return Axis(
        "test images",
        f"an evaluation, {SIZE} px",
        {count: _evaluation(_data(folder, f"data.test_images={count}"), device) for count in IMAGES},
    )


def workers(device: str, folder: Path) -> Axis:
    """Loading alone, of images that are decoded anew, against the number of processes that load."""
    large = ("data.cache_images=false", f"data.canvas={LARGE}", f"data.image_size={LARGE}", f"data.train_size={LOADED}")
    return Axis(
        "loading workers (0: the process itself)",
        f"an epoch of loading, {LOADED} images of {LARGE} px",
        {count: _loading(_data(folder, *large, f"data.workers={count}")) for count in WORKERS},
        fits=False,
    )


AXES: dict[str, Callable[[str, Path], Axis]] = {
    "image_size": image_size,
    "width": width,
    "batch_size": batch_size,
    "epoch": epoch,
    "evaluation": evaluation,
    "workers": workers,
}


def _network(device: str, **changes: Any) -> Any:
    return network(MODEL, **{"width": WIDTH, **changes}).to(device)


def _data(folder: Path, *overrides: str) -> DetectionData:
    """Shapes, drawn once for all numbers of images."""
    most = max(IMAGES)
    fixed: Sequence[str] = (
        "data=shapes", f"data.root={folder}", f"data.train_size={most}", f"data.test_size={most}",
        "data.val_images=0", f"data.batch_size={BATCH}", "data.colour_jitter=0.4",
    )  # fmt: skip
    made = Command([*fixed, *overrides]).data
    assert isinstance(made, DetectionData)
    return made


def _epoch(data: DetectionData, device: str) -> Callable[[], None]:
    net = network(MODEL, width=WIDTH, num_classes=data.num_classes).to(device).train()
    optimizer = optimizer_of(net)

    def run() -> None:
        for loaded in data.train_dataloader():
            batch = data.transfer_batch_to_device(loaded, torch.device(device), 0)
            optimizer.zero_grad()
            net.losses(net(batch["images"]), batch["targets"]).total.mean().backward()
            optimizer.step()

    return run


def _evaluation(data: DetectionData, device: str) -> Callable[[], None]:
    net = network(MODEL, width=WIDTH, num_classes=data.num_classes).to(device).eval()
    results = functools.partial(coco_results, category_ids=data.category_ids)

    def run() -> None:
        found = []
        with torch.inference_mode():
            for loaded in data.test_dataloader()[0]:
                batch: Batch = data.transfer_batch_to_device(loaded, torch.device(device), 0)
                for target, detections in zip(batch["targets"], net.detections(net(batch["images"])), strict=True):
                    here = type(detections)(*(tensor.cpu() for tensor in detections))
                    found += results(target["image_id"], here)
        average_precision(data.ground_truth("test"), found)

    return run


def _loading(data: DetectionData) -> Callable[[], None]:
    loader = data.train_dataloader()  # once, as in a training: its workers live on

    def run() -> None:
        for _ in loader:
            pass

    return run
