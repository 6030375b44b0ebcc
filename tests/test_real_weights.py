"""What only real weights on real images show: that a network finds what its authors say it finds.

Random weights agree with another reader whatever the anchors are. The files lie beside the checkout, in
`../shared/data`; each folder says where its own come from.
"""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hydra_det
from hydra_det.compaction.compact import as_graph
from hydra_det.data.formats.names import read_names
from hydra_det.engines.detector_file import write_detector
from hydra_det.finished.compacting.detector import described
from hydra_det.modules.masked_conv import make_dense
from tests.modules.darknet.opencv import OpenCVDetector

REAL = Path(__file__).parents[2] / "shared" / "data"
TINY, ZOO, COCO = REAL / "yolov3_tiny_coco", REAL / "darknet_zoo", REAL / "coco_real"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(folder.is_dir() for folder in (TINY, ZOO, COCO)), reason="needs real weights and images"
    ),
]
PUBLISHED_TINY = [[10, 14], [23, 27], [37, 58], [81, 82], [135, 169], [344, 319]]  # of the .cfg, masks 0,1,2 and 3,4,5


def coco_val(image_size: int = 416, *, images: int | None = None) -> hydra_det.CocoData:
    """The 206 images of COCO's val2017, or some of them, as test images."""
    file, folder = "annotations/instances_val.json", "images/val2017"
    return hydra_det.CocoData(
        root=COCO, name="coco_real", train_annotations=file, test_annotations=file, train_images_dir=folder,
        test_images_dir=folder, image_size=image_size, test_images=images, batch_size=16, cache_images=False,
        allow_overlap=True,
    )  # fmt: skip


def test_official_tiny_weights_reach_their_ap() -> None:
    net = hydra_det.build_network("yolov3_tiny", num_classes=80, weights=TINY / "yolov3-tiny.weights")
    found: Any = hydra_det.evaluate(net, coco_val())["clean"]["coco"]
    assert found["map"] >= 0.195
    assert found["map_50"] >= 0.39


def test_the_anchors_of_the_published_cfg_halve_it() -> None:
    """The images, the weights and the scorer can tell: else the test above would say nothing of anchors."""
    weights = TINY / "yolov3-tiny.weights"
    net = hydra_det.build_network("yolov3_tiny", num_classes=80, weights=weights, anchors=PUBLISHED_TINY)
    found: Any = hydra_det.evaluate(net, coco_val())["clean"]["coco"]
    assert found["map"] < 0.13


# AP50 of both readers, measured on the 206 images at 320 px.
NETWORKS = {"yolo-fastest-1.1": 0.269, "yolo-fastest-1.1-xl": 0.326, "MobileNetV2-YOLOv3-Nano-coco": 0.275}


def of_the_zoo(name: str) -> Any:
    return hydra_det.build_network("darknet", cfg=ZOO / f"{name}.cfg", weights=ZOO / f"{name}.weights").eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_public_networks_are_those_of_another_reader(name: str, tmp_path: Path) -> None:
    net = of_the_zoo(name)
    levels = [(stride, 3) for stride in net.strides]
    other = OpenCVDetector(ZOO / f"{name}.cfg", ZOO / f"{name}.weights", folder=tmp_path, levels=levels)
    data = coco_val(320)
    data.prepare()
    certain = 0
    for index in range(0, 200, 10):
        image = data.dataset("test")[index][0][None]
        with torch.no_grad():
            ours, (theirs,) = net.decode(net(image)), other(image)
        torch.testing.assert_close(ours.confidences, theirs.confidences, atol=1e-4, rtol=0)
        counted = theirs.confidences.amax(2) >= 0.001  # boxes that nobody would look at may be thousands of pixels wide
        torch.testing.assert_close(ours.boxes[counted], theirs.boxes[counted], atol=1e-2, rtol=0)
        torch.testing.assert_close(ours.boxes, theirs.boxes, atol=1e-2, rtol=1e-4)
        certain += int((theirs.confidences > 0.5).sum())
    assert certain > 20
    found: dict[str, Any] = {
        reader: hydra_det.evaluate(made, coco_val(320))["clean"]["coco"]["map_50"]
        for reader, made in (("ours", net), ("theirs", other))
    }
    assert found["ours"] == pytest.approx(found["theirs"], abs=1e-4)
    assert found["ours"] >= NETWORKS[name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_public_networks_without_pruned_channels_answer_the_same(name: str, ratio: float) -> None:
    """Depthwise convolutions lose channels with the convolutions that write and read them."""
    net = hydra_det.make_masked(of_the_zoo(name))
    hydra_det.initial_scores(net, (), "magnitude")
    hydra_det.prune(net, ratio, granularity="filter_group")
    small = hydra_det.compact(net).network
    weights = [sum(m.weight.numel() for m in each.modules() if isinstance(m, nn.Conv2d)) for each in (net, small)]
    assert weights[1] <= (1 - ratio) * weights[0]
    masked = make_dense(copy.deepcopy(net)).eval()
    image = torch.rand(1, 3, 224, 320, generator=torch.Generator().manual_seed(0))
    for dtype, allowed in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        with torch.no_grad():
            pairs = list(zip(masked.to(dtype)(image.to(dtype)), small.to(dtype)(image.to(dtype)), strict=True))
        for wanted, got in pairs:
            assert (wanted - got).abs().max() <= allowed * wanted.abs().max()
    # Without one more channel of one depthwise convolution the answer is another: by little at 90 %, but not by 1e-9.
    layer = next(m for m in small.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
    with torch.no_grad():
        layer.weight[0] = 0
        changed = small(image.double())
    assert max(float((a - b).abs().max() / a.abs().max()) for (a, _), b in zip(pairs, changed, strict=True)) > 1e-6


def test_the_page_for_programs_without_us_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the JPEG to boxes: Pillow's rounding of a scaled photo is not quite torch's, so no closer than this."""
    names = read_names(TINY / "coco.names")
    net = as_graph(hydra_det.build_network("yolov3_tiny", num_classes=80, weights=TINY / "yolov3-tiny.weights"))
    said = described(net, {"classes": names, "image_size": 416, "greyscale": False}, output="decoded", confidence=0.3)
    write_detector(net, tmp_path, torch.zeros(1, 3, 416, 416), said, output="decoded", confidence=0.3)
    page = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    defined: dict[str, Any] = {}
    exec(compile(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], "deploy.md", "exec"), defined)
    predict = hydra_det.Predictor(net, class_names=names, image_size=416, confidence=0.3)
    seen = 0
    for photo in sorted((COCO / "images" / "val2017").glob("*.jpg"))[:20]:
        found = predict(photo)
        wanted, left = found.clean.objects, defined["detect"](photo, least=0.3)
        enlarged = max(1.0, max(found.clean.pixels.shape) / 416)
        for one in wanted:
            same = [other for other in left if other[0] == one.name]
            near = min(same, key=lambda other: float(np.abs(np.subtract(other[2], one.box)).max()))
            np.testing.assert_allclose(near[2], one.box, atol=0.1 * enlarged)
            assert near[1] == pytest.approx(one.confidence, abs=0.005)
            left.remove(near)
        assert not left, photo.name
        seen += len(wanted)
    assert seen > 40
