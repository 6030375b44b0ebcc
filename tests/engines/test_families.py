"""Torchvision's families in the engines that can hold them, and as files that answer without us."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from hydra_det.compaction.compact import compact
from hydra_det.engines.detector_file import answers, write_detector, write_openvino_detector
from hydra_det.engines.engine import FLOAT_TOLERANCE
from hydra_det.engines.registry import ENGINES, in_engine
from hydra_det.finished.compacting.detector import described, detections_differ, expected, tensors_differ
from hydra_det.types import InputError
from tests.compaction.test_cutting import pruned
from tests.modules.torchvision.example import pictures

pytestmark = pytest.mark.engine
NAMES = ("retinanet", "fcos", "ssdlite", "faster_rcnn")
ABOUT = {"classes": ["a", "b", "c"], "image_size": 64, "greyscale": False}


def missing(name: str) -> bool:
    return any(importlib.util.find_spec(package) is None for package in ENGINES[name].packages)


@functools.cache
def small(name: str) -> Any:
    """A family of which half of the channels are gone."""
    return compact(pruned(name, ratio=0.4)).network


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_answers_like_torch(tmp_path: Path, engine: str, name: str) -> None:
    if missing(engine):
        pytest.skip(f"{engine} needs an extra")
    net, images = small(name), pictures(name)
    forward, _ = in_engine(engine, net, tmp_path, images, threads=1)
    for count in (1, 2):
        with torch.no_grad():
            wanted = net(images[:count])
        for want, got in zip(wanted, forward(images[:count]), strict=True):
            assert got.shape == want.shape
            assert float((want - got).abs().max() / want.abs().max()) < FLOAT_TOLERANCE


@pytest.mark.parametrize(("name", "output"), [
    ("retinanet", "raw"), ("retinanet", "decoded"), ("retinanet", "detections"), ("fcos", "decoded"),
    ("ssdlite", "decoded"),
])  # fmt: skip
def test_a_file_answers_as_torch(tmp_path: Path, name: str, output: str) -> None:
    if missing("onnxruntime") or missing("openvino"):
        pytest.skip("needs the extra export")
    net, images = small(name), pictures(name)
    said = described(net, ABOUT, output=output, confidence=0.05)
    file = write_detector(net, tmp_path, images[:1], said, output=output, confidence=0.05)
    wanted = expected(net, images, output=output, confidence=0.05)
    differ = detections_differ if output == "detections" else tensors_differ
    for written in (file, write_openvino_detector(file)):
        found = answers(written, images)
        assert max(differ(one, other) for one, other in zip(wanted, found, strict=True)) < 1e-3
        assert all(len(one[0]) for one in wanted)


def test_sparse_says_whom_it_is_for(tmp_path: Path) -> None:
    if missing("sparse"):
        pytest.skip("needs the extra sparse")
    with pytest.raises(InputError, match="engine sparse: expected a network of the YOLO family, got FCOSDetector"):
        in_engine("sparse", small("fcos"), tmp_path, pictures("fcos"), threads=1)
