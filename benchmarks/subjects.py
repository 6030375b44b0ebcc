"""What the benchmarks time: the networks of the configs with random weights, and random images with objects."""

import functools
from typing import Any

import hydra
import torch
from torch import nn

from hydra_det.boxes import Letterbox
from hydra_det.modules.detector import fused, parameter_groups
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.pipeline import build
from hydra_det.types import Batch, Target

CLASSES, OBJECTS = 80, 8  # objects an image


def network(name: str, **changes: Any) -> YoloDetector:
    """The network of `conf/model/<name>.yaml` for 80 classes; the paper's anchors where the data would say them."""
    with hydra.initialize_config_dir(build.CONFIG_DIR, version_base="1.3"):
        config = build.plain(hydra.compose("train", [f"model={name}"]).model)
    settings = {key: value for key, value in config.items() if value is not None and value != "auto"}
    torch.manual_seed(0)
    made = build.network({**settings, "num_classes": CLASSES, **changes})
    assert isinstance(made, YoloDetector)
    return made


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    """AdamW over what learns in a network, as `Detector` makes it."""
    groups = parameter_groups(net)
    return fused(functools.partial(torch.optim.AdamW, lr=1e-4), groups[0]["params"][0].device)(groups)


def random_batch(count: int, size: int, device: str = "cpu") -> Batch:
    """Square images of noise, with eight objects each."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, OBJECTS, 2, generator=generator) * 0.6
    sides = 0.05 + torch.rand(count, OBJECTS, 2, generator=generator) * 0.3
    boxes = torch.cat([corners, corners + sides], dim=2) * size
    labels = torch.randint(0, CLASSES, (count, OBJECTS), generator=generator)
    letterbox = Letterbox(size, size, size)
    return Batch(
        images=torch.rand(count, 3, size, size, generator=generator).to(device),
        targets=[
            Target(boxes=boxes[i].to(device), labels=labels[i].to(device), image_id=i, letterbox=letterbox)
            for i in range(count)
        ],
    )
