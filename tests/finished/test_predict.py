"""Detection on pictures: the same boxes that evaluation scores, attacks that stay in their ball, files that add up."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from hydra_det.boxes import Letterbox
from hydra_det.data.media.frames import Frames
from hydra_det.data.media.video import VideoWriter
from hydra_det.finished.pictures import Pictures
from hydra_det.finished.predict import Predictor, content_pixels, open_predictor
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.darknet.weights import save_darknet_weights
from hydra_det.modules.yolo.yolov3 import YOLOv3Tiny
from hydra_det.pipeline import build
from hydra_det.pipeline.build import SCRIPTS
from hydra_det.types import InputError
from tests.pipeline.tiny import compose

CONFIDENCE = 0.001  # the tiny run learns next to nothing


def predictor(finished: Path, *words: str) -> Predictor:
    return open_predictor(
        compose([f"run={finished / 'run'}", "source=.", "device=cpu", f"confidence={CONFIDENCE}", *words], "detect")
    )


def scored_pictures(finished: Path) -> list[tuple[int, Path]]:
    config = build.read_yaml(finished / "run" / "config.yaml")
    data = build.data(config)
    data.prepare()
    return [(record.image_id, record.path) for record in data.splits["test"].records]


@pytest.mark.parametrize("network", ["dense", "pruned"])
def test_the_boxes_are_those_that_were_scored(finished: Path, network: str) -> None:
    predict = predictor(finished, f"network={network}")
    scored = pd.read_csv(finished / "run" / network / "detections_clean.csv")
    for image_id, path in scored_pictures(finished):
        found = predict(np.array(Image.open(path).convert("RGB"))).clean.detections
        wanted = scored[scored.image_id == image_id]
        assert len(found.labels) == len(wanted) == 100
        labels = torch.tensor([predict.class_names.index(name) for name in wanted["label"]])
        corners = torch.tensor(wanted[["x_min", "y_min", "x_max", "y_max"]].to_numpy())
        # Boxes and classes as points: classes are further apart than any two boxes.
        scored_at = torch.cat([corners, labels[:, None] * 1e4], dim=1)
        found_at = torch.cat([found.boxes, found.labels[:, None] * 1e4], dim=1)
        nearest = torch.cdist(found_at, scored_at).min(1)
        same = nearest.values < 0.01
        # Nearly equal confidences: which is the hundredth may differ between a batch of one and a batch of six.
        assert same.float().mean() > 0.95
        confidences = wanted["confidence"].to_numpy()[nearest.indices[same]]
        np.testing.assert_allclose(found.confidences[same], confidences, rtol=1e-3)


def test_an_attack_changes_the_answer_and_stays_in_its_ball(finished: Path) -> None:
    predict = predictor(finished, "attack=pgd", "attack.epsilon=0.05")
    before = {name: value.clone() for name, value in predict.net.state_dict().items()}
    pixels = np.array(Image.open(scored_pictures(finished)[0][1]).convert("RGB"))
    found = predict(pixels)
    assert found.attacked is not None
    moved = np.abs(found.attacked.pixels.astype(int) - pixels.astype(int))
    assert 0 < moved.max() <= 13, "0.05 of 255, rounded"
    clean, attacked = found.clean.detections.confidences, found.attacked.detections.confidences
    assert not torch.equal(clean, attacked)
    assert all(torch.equal(value, before[name]) for name, value in predict.net.state_dict().items())
    assert all(parameter.grad is None for parameter in predict.net.parameters())
    # The same picture again, and the clean half is what it is without an attack.
    again = predict(pixels)
    assert again.attacked is not None
    assert np.array_equal(again.attacked.pixels, found.attacked.pixels)
    assert torch.equal(found.clean.detections.boxes, predictor(finished)(pixels).clean.detections.boxes)


def test_the_content_of_an_input_is_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 64, 3), dtype=np.uint8)
    letterbox = Letterbox(64, 30, 64)
    padded = torch.full((3, 64, 64), 0.5)
    left, top, width, height = letterbox.content
    padded[:, top : top + height, left : left + width] = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    assert np.array_equal(content_pixels(padded, letterbox), pixels)
    assert content_pixels(padded, Letterbox(64, 60, 128)).shape == (60, 128, 3)


def test_weights_of_darknet_with_a_file_of_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_darknet_weights(YOLOv3Tiny(num_classes=2, width=0.25), tmp_path / "net.weights")
    (tmp_path / "two.names").write_text("cat\ndog\n")
    words = ["model=yolov3_tiny", "model.width=0.25", f"model.weights={tmp_path / 'net.weights'}", "source=."]
    predict = open_predictor(compose([*words, f"names={tmp_path / 'two.names'}", "image_size=64"], "detect"))
    assert predict.class_names == ["cat", "dog"]
    assert predict.image_size == 64
    predict(np.zeros((20, 90, 3), dtype=np.uint8))
    (tmp_path / "one.names").write_text("cat\n")
    with pytest.raises(InputError, match=r"names: expected all classes of .*net.weights, got 1"):
        open_predictor(compose([*words, f"names={tmp_path / 'one.names'}"], "detect"))


def test_a_run_can_be_shown_larger_pictures(finished: Path) -> None:
    assert predictor(finished).image_size == 64
    assert predictor(finished, "image_size=96").image_size == 96


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected run=.*or names=.*and model.weights=; got none of them"),
        (["run=somewhere", "names=names.txt"], "got run= and names="),
        (["run=somewhere", "model.weights=x.weights"], "got run= and model.weights="),
        (["names={names}"], "got names=$"),
        (["names={names}", "model=yolov3_nano", "model.weights=x.weights"], "model.anchors: .* got auto"),
        (["run={run}", "confidence=1.5"], r"confidence: expected a number in \[0, 1\], got 1.5"),
        (["run={run}", "confidence=high"], "confidence: expected a number"),
        (["run={run}", "image_size=wide"], "image_size: expected a multiple of 32, got wide"),
        (["run={run}", "image_size=50"], "image_size: expected a multiple of 32, got 50"),
        (["run={run}", "seed=x"], "seed: expected a whole number"),
        (["run=2024"], "run: expected the folder of a finished run, got 2024"),
        (["run={run}", "network=thin"], "network: expected one of dense, pruned, compact"),
        (
            ["run={run}", "network=compact"],
            "expected one that was made, got compact; first run compact.py run=",
        ),
        (["run={run}", "device=cuda:77"], "device: expected auto, cpu"),
        (["run={run}/stages"], "holds no record.json"),
    ],
)
def test_what_cannot_be_opened_is_said(finished: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "a.names").write_text("cat\n")
    filled = [word.format(names=tmp_path / "a.names", run=finished / "run") for word in words]
    with pytest.raises(InputError, match=message):
        open_predictor(compose(["source=.", *filled], "detect"))


def detect(*words: str, folder: Path) -> Any:
    line = [sys.executable, str(SCRIPTS / "detect.py"), *words, "device=cpu", f"hydra.run.dir={folder}"]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_folder_with_a_broken_image(finished: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    paths = [path for _, path in scored_pictures(finished)]
    for name, path in zip(("a.png", "sub/b.png"), paths, strict=False):
        Image.open(path).save(source / name)
    (source / "broken.png").write_bytes(paths[0].read_bytes()[:200])
    done = detect(
        f"run={finished / 'run'}", f"source={source}", "attack=pgd", "confidence=0.001", folder=tmp_path / "out"
    )
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    assert "1 of 3 pictures could not be read" in done.stderr
    assert "Traceback" not in done.stderr
    pictures = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.jpg"))
    assert pictures == ["a.jpg", "sub/b.jpg"]
    with Image.open(tmp_path / "out" / "a.jpg") as picture:
        assert picture.width > 2 * 64, "clean and attacked side by side"
    table = pd.read_csv(tmp_path / "out" / "detections.csv")
    assert set(table["image"]) == {"a.png", "sub/b.png"}
    assert set(table["view"]) == {"clean", "attacked"}
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(rows) == len(table)
    assert rows[0]["confidence"] == pytest.approx(table["confidence"][0])


def test_a_video_stays_a_video(finished: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "street.mp4", rate=Fraction(8)) as writer:
        for (_, path), time in zip(
            scored_pictures(finished)[:3], (Fraction(0), Fraction(1), Fraction(9, 4)), strict=True
        ):
            writer.write(np.array(Image.open(path).convert("RGB")), time)
    predict = predictor(finished)
    source = Frames(tmp_path / "street.mp4")
    with Pictures(tmp_path / "out", source, attack="none") as pictures:
        for frame in source:
            assert isinstance(frame.pixels, np.ndarray)
            pictures.add(frame.name, predict(frame.pixels), frame.time)
    made = Frames(tmp_path / "out" / "street.mp4")
    assert made.count == 3
    assert [frame.time for frame in made] == [0, 1, Fraction(9, 4)]
    table = pd.read_csv(tmp_path / "out" / "detections.csv", dtype={"image": str})
    assert dict(zip(table["image"], table["time"], strict=True)) == {"000001": 0, "000002": 1, "000003": 2.25}
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {row["time"] for row in rows} == {0, 1, 2.25}


def test_the_attacked_half_says_at_which_size_it_was_attacked(finished: Path, tmp_path: Path, monkeypatch: Any) -> None:
    said: list[str] = []

    def caption(image: Image.Image, text: str) -> Image.Image:
        said.append(text)
        return image

    monkeypatch.setattr("hydra_det.finished.pictures.caption", caption)
    predict = predictor(finished, "attack=noise")
    _, path = scored_pictures(finished)[0]
    source = Frames(path)
    with Pictures(tmp_path / "out", source, attack="noise", size=predict.image_size) as made:
        made.add("a.png", predict(path))
    assert said == ["clean", f"attacked: noise at {predict.image_size} px"]
    assert "time" not in pd.read_csv(tmp_path / "out" / "detections.csv").columns


def test_pictures_of_one_stem_do_not_meet(finished: Path, tmp_path: Path) -> None:
    predict = predictor(finished)
    for name, shade in (("a.png", 10), ("a.bmp", 200)):
        Image.new("RGB", (40, 40), (shade, shade, shade)).save(tmp_path / name)
    source = Frames(tmp_path)
    with Pictures(tmp_path / "out", source, attack="none") as pictures:
        for frame in source:
            assert isinstance(frame.pixels, np.ndarray)
            pictures.add(frame.name, predict(frame.pixels))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == ["a.jpg", "a.png.jpg"]


def test_a_run_is_opened_without_its_images(finished: Path) -> None:
    run = FinishedRun(finished / "run", attack={"_target_": "hydra_det.attacks.no_attack"})
    run.data.prepare = lambda: pytest.fail("the images were read")  # type: ignore[method-assign]
    run.network("pruned")
    assert len(run.class_names) == 6


def test_a_run_from_another_machine_is_opened(finished: Path, tmp_path: Path) -> None:
    """The devices that it was trained on may not be there."""
    shutil.copytree(finished / "run", tmp_path / "run", symlinks=False)
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "  accelerator: auto" in config
    (tmp_path / "run" / "config.yaml").write_text(config.replace("  accelerator: auto", "  accelerator: tpu"))
    assert len(FinishedRun(tmp_path / "run", attack={"_target_": "hydra_det.attacks.no_attack"}).class_names) == 6


def test_looking_into_the_folder_of_a_run_keeps_its_record(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run", symlinks=False)
    picture = scored_pictures(finished)[0][1]
    done = detect(f"run={tmp_path / 'run'}", f"source={picture}", folder=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "record.json").is_file()
