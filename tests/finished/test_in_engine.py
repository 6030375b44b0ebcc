"""`engine=`: what is scored and what is shown comes from an engine, equal to torch or refused."""

import json
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hydra_det.engines.registry import ENGINES
from hydra_det.finished import in_engine
from hydra_det.finished.in_engine import InEngine, Opening, check_engine, in_another_engine
from hydra_det.finished.scored import write_scores
from hydra_det.finished.suite.suite import Suite
from hydra_det.process.apart import DiedError
from hydra_det.types import InputError
from tests.finished.example import trained
from tests.finished.test_predict import predictor, scored_pictures
from tests.finished.test_some_images import of_the_run, opened
from tests.pipeline.tiny import compose


@pytest.fixture(params=["sparse", "torch_export"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "sparse":
        pytest.importorskip("numba")
    return str(request.param)


def test_a_run_is_scored_alike_in_every_engine(finished: Path, tmp_path: Path, engine: str) -> None:
    scored, network = of_the_run(finished)
    wanted, folder = scored.score(network)
    other, _ = of_the_run(finished, f"engine={engine}")
    inside = other._in_engine(network)
    found, elsewhere = other.score(network)
    assert cast(Opening, inside.engine).is_open, "the engine computed it"
    assert elsewhere != folder, "the store does not mix them"
    for images in ("clean", "attacked"):
        for key in ("map", "map_50"):
            assert _figure(found, images, key) == pytest.approx(_figure(wanted, images, key), abs=1e-4)
    file = write_scores(tmp_path, other, network, found, elsewhere)
    assert json.loads(file.read_text())["engine"] == engine


def _figure(scores: Any, images: str, key: str) -> float:
    return float(scores[images]["coco"][key])


def test_a_suite_says_the_engine_and_does_not_go_on_in_another(finished: Path, tmp_path: Path, engine: str) -> None:
    few = ["suite=quick", "images=2", *(f"~suite.attacks.{name}" for name in ("average_precision", "fgsm", "noise"))]
    kept = opened(f"run={finished / 'run'}", *few, f"engine={engine}")
    settings = {**_settings(finished, *few, f"engine={engine}"), "network": kept[1]}
    found = Suite(kept[0], settings).score(tmp_path)
    assert found["engine"] == engine
    in_torch, _ = opened(f"run={finished / 'run'}", *few)
    with pytest.raises(InputError, match=f"got one with engine={engine} instead of torch"):
        Suite(in_torch, settings).check_folder(tmp_path)


def _settings(finished: Path, *words: str) -> dict[str, object]:
    return dict(compose([f"run={finished / 'run'}", *words], "evaluate"))


def test_boxes_in_pictures_are_those_of_torch(finished: Path, engine: str) -> None:
    pixels = np.array(Image.open(scored_pictures(finished)[0][1]).convert("RGB"))
    words = ["attack=pgd", "attack.epsilon=0.05"]
    wanted, found = predictor(finished, *words)(pixels), predictor(finished, *words, f"engine={engine}")(pixels)
    assert found.attacked is not None
    assert wanted.attacked is not None
    np.testing.assert_allclose(found.clean.detections.confidences, wanted.clean.detections.confidences, rtol=1e-3)
    # An attack follows the signs of gradients, and those near 0 turn with a rounding.
    moved, attacked = found.attacked.detections, wanted.attacked.detections
    np.testing.assert_allclose(moved.confidences, attacked.confidences, rtol=2e-2)


def test_another_answer_than_that_of_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: torch.nn.Module, *_: object) -> Any:
        return lambda images: [raw * 1.01 for raw in network(images)]

    monkeypatch.setitem(ENGINES, "torch_export", ENGINES["torch_export"]._replace(open=wrong))
    inside = in_another_engine("torch_export", trained(), image_size=64)
    with pytest.raises(InputError, match=r"expected torch_export to give the raw maps of torch within 0\.001"):
        inside(torch.rand(1, 3, 64, 64))


def test_a_crash_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> Any:
        raise DiedError("was ended by SIGSEGV")

    monkeypatch.setitem(ENGINES, "torch_export", ENGINES["torch_export"]._replace(open=crash))
    inside = in_another_engine("torch_export", trained(), image_size=64)
    with pytest.raises(InputError, match=r"engine torch_export: expected it to live, it was ended by SIGSEGV; take"):
        inside(torch.rand(1, 3, 64, 64))
    folders = {*Path(tempfile.gettempdir()).iterdir()}
    with pytest.raises(InputError):
        inside(torch.rand(1, 3, 64, 64))
    assert {*Path(tempfile.gettempdir()).iterdir()} <= folders, "nothing is left behind"


def test_an_engine_is_opened_once_and_only_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    opens: list[str] = []
    real = in_engine.in_engine

    def counted(name: str, *args: Any, **options: Any) -> Any:
        opens.append(name)
        return real(name, *args, **options)

    monkeypatch.setattr(in_engine, "in_engine", counted)
    inside = in_another_engine("torch_export", trained(), image_size=64)
    assert isinstance(inside, InEngine)
    assert opens == []
    images: Tensor = torch.rand(3, 3, 64, 64)
    for _ in range(2):
        for want, got in zip(inside.network(images), inside(images), strict=True):
            torch.testing.assert_close(want, got)
    assert opens == ["torch_export"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorrt", "engine: expected some of torch, .*, got tensorrt"),
        ("openvino_int8", r"got openvino_int8, which takes its ranges from training images; compact.py engines=\["),
    ],
)
def test_engines_that_cannot_be_used_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_engine(name)


def test_a_device_beside_an_engine_is_refused(finished: Path) -> None:
    with pytest.raises(InputError, match="device: expected cpu beside engine=torch_export, got meta"):
        predictor(finished, "engine=torch_export", "device=meta")
