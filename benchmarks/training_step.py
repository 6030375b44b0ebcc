"""How long is a training step of YOLOv3, with which options, and against pytorchyolo?

python -m benchmarks.training_step
python -m benchmarks.training_step --model yolov3_nano --image-size 256 --batch 8 --rounds 20

pytorchyolo is under the GPL and no part of this project: it takes part if it can be imported, is called as a black box
and gets the same images, objects and number of threads, and AdamW as torch makes it by default, as its own training
does with Adam; ours takes the fused step. Its packages that only its own augmentation and
reports need are replaced by empty ones. A step is forward, loss, backward and optimiser.
"""

import argparse
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from benchmarks.subjects import CLASSES, network, optimizer_of, random_batch
from hydra_det.modules.detector import parameter_groups
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.pipeline.precision import has_units
from hydra_det.types import Batch
from tests.modules.darknet_cfg import yolov3 as darknet_cfg

PEER = "pytorchyolo"
# What its parser wants to find in [net] beside the size of the input; nothing of it matters to a step.
SCHEDULE = """batch=64
subdivisions=1
momentum=0.9
decay=0.0005
angle=0
saturation=1.5
exposure=1.5
hue=.1
learning_rate=0.001
burn_in=1000
max_batches=1
policy=steps
steps=1
scales=.1
"""
BARE = (
    "imgaug",
    "imgaug.augmenters",
    "imgaug.augmentables",
    "imgaug.augmentables.bbs",
    "terminaltables",
    "torchsummary",
)


def main() -> None:
    """Time all variants in turns."""
    options = _options()
    torch.manual_seed(0)
    batch = random_batch(options.batch, options.image_size, options.device)

    def ours(**how: Any) -> Callable[[], object]:
        return our_step(network(options.model).to(options.device), batch, **how)

    def auto() -> Callable[[], object]:
        units = has_units("gpu" if options.device == "cuda" else "cpu")
        return ours(bf16=units, channels_last=units)

    made = {
        "float32": ours,
        "auto": auto,
        "AdamW by parameter": lambda: ours(by_parameter=True),
        "channels_last": lambda: ours(channels_last=True),
        "bf16": lambda: ours(bf16=True),
        "bf16, channels_last": lambda: ours(bf16=True, channels_last=True),
        "compile": lambda: ours(compiled=True),
        "compile, channels_last": lambda: ours(compiled=True, channels_last=True),
        "compile, bf16, channels_last": lambda: ours(compiled=True, bf16=True, channels_last=True),
    }
    baseline, notes = "float32", []
    variants = {name: make() for name, make in chosen(made, baseline=baseline, options=options).items()}
    if options.model == "yolov3":
        try:
            variants[PEER] = peer_step(peer_network(options), batch)
            baseline = PEER
        except ImportError as error:
            notes = [f"Without {PEER}: {error}."]
    title = f"A training step of {options.model}, {options.image_size} px, batch {options.batch}"
    compare(title, variants, baseline=baseline, options=options, images=options.batch, notes=notes)


def our_step(
    net: YoloDetector,
    batch: Batch,
    *,
    channels_last: bool = False,
    bf16: bool = False,
    compiled: bool = False,
    by_parameter: bool = False,
) -> Callable[[], object]:
    """A training step as `Detector` makes it, without Lightning and without clipping the gradients."""
    images, targets = batch["images"], batch["targets"]
    if channels_last:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    groups = parameter_groups(net)
    optimizer = torch.optim.AdamW(groups, lr=1e-4) if by_parameter else optimizer_of(net)
    if compiled:
        net.compile()
    net.train()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            loss = net.losses(net(images), targets).total.mean()
        loss.backward()
        optimizer.step()

    return step


def peer_network(options: argparse.Namespace) -> Any:
    """The same network by pytorchyolo, which may be missing."""
    missing = [name for name in BARE if importlib.util.find_spec(name.partition(".")[0]) is None]
    sys.modules.update({name: _Anything(name) for name in missing})
    models = importlib.import_module(f"{PEER}.models")
    text = darknet_cfg(size=options.image_size, classes=CLASSES).replace("[net]\n", f"[net]\n{SCHEDULE}", 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "yolov3.cfg")
        path.write_text(text)
        return models.Darknet(str(path)).to(options.device)


def peer_step(net: Any, batch: Batch) -> Callable[[], object]:
    """A training step of pytorchyolo: its network, its loss, AdamW with a step by parameter."""
    images, targets = batch["images"], batch["targets"]
    compute_loss = importlib.import_module(f"{PEER}.utils.loss").compute_loss
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    size = images.shape[-1]
    rows = [
        torch.cat(
            [torch.tensor([float(index), float(label)]), (box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size]
        )
        for index, target in enumerate(targets)
        for box, label in zip(target["boxes"].cpu(), target["labels"].cpu(), strict=True)
    ]
    wanted = torch.stack(rows).to(images.device)  # [M, 6] image, class, cx, cy, w, h
    net.train()

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = compute_loss(net(images), wanted, net)
        loss.backward()
        optimizer.step()

    return step


class _Anything(ModuleType):
    """A module of which every name is an empty class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # a package: what is imported from below it is asked for here

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=7, warmup=2, batch=2)
    return parsed(parser)


if __name__ == "__main__":
    main()
