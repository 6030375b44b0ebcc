"""The networks of the configs, with random weights."""

import hydra
import torch

from hydra_det.modules.yolov3 import YoloDetector
from hydra_det.pipeline import build

CLASSES = 80


def network(name: str) -> YoloDetector:
    """The network of `conf/model/<name>.yaml` for 80 classes; the paper's anchors where the data would say them."""
    with hydra.initialize_config_dir(build.CONFIG_DIR, version_base="1.3"):
        config = build.plain(hydra.compose("train", [f"model={name}"]).model)
    settings = {key: value for key, value in config.items() if value is not None and value != "auto"}
    torch.manual_seed(0)
    made = build.network({**settings, "num_classes": CLASSES})
    assert isinstance(made, YoloDetector)
    return made
