"""docs/deploy.md as its reader runs it: the file and the page alone find what detect.py finds."""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import hydra_det
from hydra_det.compaction.compact import as_graph
from hydra_det.compaction.files import save_compact
from hydra_det.engines.detector_file import (
    OUTPUTS,
    answers,
    check_output,
    write_detector,
    write_openvino_detector,
)
from hydra_det.finished.compacting.detector import described, detections_differ, expected, export_detector
from hydra_det.modules.graph import GraphDetector
from hydra_det.process.apart import Apart
from hydra_det.types import InputError
from tests.finished.example import LEAST, trained

pytestmark = pytest.mark.engine

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
ONNX, OPENVINO, DETECTIONS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SIZE = 96
ABOUT: dict[str, Any] = {"classes": ["cat", "dog", "Käfer"], "image_size": SIZE, "greyscale": False}


@pytest.fixture(scope="module")
def network() -> GraphDetector:
    return as_graph(trained())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Noise in blocks, so that scaling matters; wide, tall, small, large, grey, and one that a camera turned."""
    folder, rng, made = tmp_path_factory.mktemp("photos"), np.random.default_rng(0), []
    for number, (width, height) in enumerate([(200, 120), (90, 160), (40, 30), (640, 480), (96, 96), (111, 77)]):
        blocks = rng.integers(0, 256, size=(height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
        photo = Image.fromarray(np.kron(blocks, np.ones((10, 10, 1), np.uint8))[:height, :width])
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 5 else 1
        path = folder / f"{number}.jpg"
        (photo.convert("L") if number == 4 else photo).save(path, quality=90, exif=exif)
        made.append(path)
    return made


def write(network: GraphDetector, folder: Path, about: Mapping[str, Any], *, output: str) -> Path:
    said = described(network, about, output=output, confidence=LEAST)
    example = torch.zeros(1, 3, SIZE, SIZE)
    return write_detector(network, folder, example, said, output=output, confidence=LEAST)


def page(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a page's code defines, run in a folder with the files."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(code, "deploy.md", "exec"), names)
    return names


@pytest.mark.parametrize("greyscale", [False, True])
@pytest.mark.parametrize("output", ["decoded", "detections"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_page_finds_what_the_predictor_finds(
    network: GraphDetector,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: Any,
    runtime: str,
    output: str,
    greyscale: bool,
) -> None:
    about = {**ABOUT, "greyscale": greyscale}
    file = write(network, tmp_path, about, output=output)
    blocks = [ONNX, OPENVINO if runtime == "openvino" else "", DETECTIONS if output == "detections" else ""]
    if runtime == "openvino":
        write_openvino_detector(file)
    names = page("\n".join(blocks), tmp_path, monkeypatch)
    predict = hydra_det.Predictor(
        network, class_names=ABOUT["classes"], image_size=SIZE, confidence=LEAST, greyscale=greyscale
    )
    seen = 0
    for photo in photos:
        wanted, found = predict(photo).clean.objects, names["detect"](photo, least=LEAST)
        with Image.open(photo) as opened:
            enlarged = max(1.0, max(opened.size) / SIZE)  # a pixel of the input in pixels of the photo
        left = list(found)
        for one in wanted:  # of equally certain boxes any may come first
            same = [other for other in left if other[0] == one.name]
            near = min(same, key=lambda other: float(np.abs(np.subtract(other[2], one.box)).max()))
            assert near[1] == pytest.approx(one.confidence, abs=1e-4)
            np.testing.assert_allclose(near[2], one.box, atol=1e-3 * enlarged)
            left.remove(near)
        assert not left, photo.name
        certain = [confidence for _, confidence, _ in found]
        assert certain == sorted(certain, reverse=True)
        seen += len(wanted)
    assert seen > 20, "boxes enough to tell"


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_file_answers_as_torch(network: GraphDetector, tmp_path: Path, output: str) -> None:
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    file = write(network, tmp_path, ABOUT, output=output)
    wanted = expected(network, images, output=output, confidence=LEAST)
    for made in (file, write_openvino_detector(file)):
        for one, other in zip(wanted, answers(made, images), strict=True):
            for want, got in zip(one, other, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
    assert not network.training, "writing leaves the network as it was"
    if output != "detections":
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        together = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(together[0][1], wanted[1][0][0], rtol=1e-3, atol=1e-3)


def test_a_file_says_what_it_is(network: GraphDetector, tmp_path: Path) -> None:
    file = write(network, tmp_path, ABOUT, output="detections")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    said = json.loads(session.get_modelmeta().custom_metadata_map["hydra_det"])
    assert said["classes"] == ABOUT["classes"]
    assert (said["image_size"], said["padding"], said["greyscale"]) == (SIZE, 0.5, False)
    assert (said["output"], said["least_confidence"]) == ("detections", LEAST)
    assert said["nms"] == {"iou": network.nms_settings.iou, "max_detections": 100}
    assert np.allclose(said["anchors"], network.anchors.flip(0).reshape(-1, 2))
    assert said["strides"] == [32, 16, 8]
    for key in said:
        assert f"`{key}`" in PAGE, "the page names all of it"


@pytest.mark.parametrize(("output", "confidence"), [("boxes", 0.3), (None, 0.3), ("decoded", 0), ("decoded", True)])
def test_what_is_no_output_is_refused(output: Any, confidence: Any) -> None:
    with pytest.raises(InputError, match=r"export\.(output: expected one of raw|confidence: expected a number)"):
        check_output(output, confidence)


def test_detections_are_compared_box_by_box() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 90, 80], [20, 0, 40, 30]])
    one = [boxes, torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0, 1, 1])]
    turned = [part[[0, 2, 1]] for part in one]
    assert detections_differ(one, turned) == 0, "equally certain ones may come in any order"
    assert detections_differ(one, [boxes + 0.9, *one[1:]]) == pytest.approx(0.9 / 90.9, rel=1e-4)
    assert detections_differ(one, [one[0], one[1] + 0.05, one[2]]) == pytest.approx(0.05)
    for broken in ([part[:2] for part in one], [part[:0] for part in one], [one[0], one[1], torch.tensor([0, 1, 2])]):
        assert detections_differ(one, broken) > 0.1
        assert detections_differ(broken, one) > 0.1
    assert detections_differ([part[:0] for part in one], [part[:0] for part in one]) == 0


def test_a_file_that_answers_something_else_is_left_out(
    network: GraphDetector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_compact(tmp_path, network, {**ABOUT, "category_ids": [1, 2, 3]})
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"sample": images, "confidence": LEAST, "openvino": True}
    for output in OUTPUTS:
        with Apart() as apart:
            export_detector(tmp_path, network, output=output, apart=apart, **options)
        assert (tmp_path / "detector.onnx").is_file()
        assert (tmp_path / "detector.bin").is_file()
        other = copy.deepcopy(network)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1.2)
        with Apart() as apart:
            export_detector(tmp_path, other, output=output, apart=apart, **options)
        assert "expected detector.onnx to answer as torch" in caplog.text
        assert not list(tmp_path.glob("detector.*"))
        caplog.clear()


def test_a_box_that_just_reaches_the_least_confidence_stays(network: GraphDetector, tmp_path: Path) -> None:
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    everything = write(network, tmp_path, ABOUT, output="detections")
    ((_, confidences, _),) = answers(everything, image)
    least = float(confidences[len(confidences) // 2])
    said = described(network, ABOUT, output="detections", confidence=least)
    file = write_detector(network, tmp_path, image, said, output="detections", confidence=least)
    ((_, found, _),) = answers(file, image)
    assert len(found) == int((confidences >= least).sum()) > 1
