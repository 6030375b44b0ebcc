"""Weights scored without a run: what a run found of the same network, on the same images, is found again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import hydra_det
from hydra_det.finished.given import GivenWeights
from hydra_det.finished.opening import open_scored
from hydra_det.finished.run import FinishedRun
from hydra_det.finished.scored import write_scores
from hydra_det.finished.suite.suite import Suite
from hydra_det.modules.weights import save_weights
from hydra_det.types import InputError
from tests.data.layouts import exports
from tests.modules.darknet.example import darknet, written
from tests.pipeline.tiny import compose

TINY = ["model=yolov3_tiny", "model.width=0.125", "evaluation.bootstrap=20", "trainer.precision=32-true"]


def words(finished: Path, folder: Path, *further: str) -> list[str]:
    """What is typed for the dense network of the tiny run, as weights of nobody in particular."""
    images = ["data=shapes", f"data.root={finished / 'shapes'}", "data.canvas=64", "data.image_size=64"]
    counts = ["data.train_size=20", "data.test_size=6", "data.val_images=4", f"data.decoded={folder / 'decoded'}"]
    weights = f"model.weights={finished / 'run' / 'stages' / 'pretrain' / 'weights.safetensors'}"
    return [*TINY, weights, *images, *counts, "attack.steps=2", f"store={folder / 'store'}", *further]


def given(*typed: str) -> Any:
    scored, _ = open_scored(compose(typed, "evaluate"), typed=typed)
    return scored


def test_a_network_scores_as_in_its_run(finished: Path, tmp_path: Path) -> None:
    scored = given(*words(finished, tmp_path))
    assert isinstance(scored, GivenWeights)
    metrics, folder = scored.score("given")
    wanted = FinishedRun(finished / "run").record.metrics["dense"]
    assert metrics["clean"] == wanted["clean"]
    assert metrics["attacked"] == wanted["attacked"]
    assert {path.name for path in folder.iterdir()} >= {"detections_clean.json", "detections_attacked.csv"}
    assert scored.data.chosen_ids()["train"] == [], "images that are not scored are not kept"
    again, same = given(*words(finished, tmp_path)).score("given")
    assert (again, same) == (metrics, folder), "found in the store"
    _, other = given(*words(finished, tmp_path, "attack.steps=1")).score("given")
    assert other != folder


def test_a_suite_runs_on_weights(finished: Path, tmp_path: Path) -> None:
    few = ["suite=quick", *(f"suite.attacks.{name}.steps=2" for name in ("pgd", "apgd"))]
    settings = compose(words(finished, tmp_path, *few), "evaluate")
    scored, network = open_scored(settings)
    found = Suite(scored, {**settings, "network": network}).score(tmp_path / "suite")
    assert found["network"] == "given"
    assert found["clean"]["coco"] == FinishedRun(finished / "run").record.metrics["dense"]["clean"]["coco"]
    kept = json.loads((tmp_path / "suite" / "robustness.json").read_text())
    assert kept["origin"]["run"].endswith("weights.safetensors")


def coco_val_alone(root: Path) -> None:
    """What somebody has who only ever tests: the annotations of val2017 and their images."""
    exports.coco_2017(root)
    (root / "annotations" / "instances_train2017.json").unlink()


def voc_test_alone(root: Path) -> None:
    exports.voc(root)
    lists = root / "ImageSets" / "Main"
    shutil.rmtree(lists)
    lists.mkdir()
    (lists / "test.txt").write_text("img 0\nimg5\n")


def yolo_without_train(root: Path) -> None:
    exports.ultralytics(root)
    for kind in ("images", "labels"):
        shutil.rmtree(root / kind / "train")


@pytest.mark.parametrize(
    ("layout", "kind", "options", "images"),
    [
        (voc_test_alone, hydra_det.VocData, {}, 2),
        (voc_test_alone, hydra_det.VocData, {"test_list": "ImageSets/Main/test.txt"}, 2),
        (exports.labelimg_voc, hydra_det.VocData, {}, 6),
        (yolo_without_train, hydra_det.YoloData, {}, 2),
        (yolo_without_train, hydra_det.YoloData, {"test_images_dir": "images/val"}, 2),
    ],
)
def test_other_formats_need_no_training_images_either(
    layout: Any, kind: Any, options: dict[str, Any], images: int, tmp_path: Path
) -> None:
    layout(tmp_path)
    data = kind(name="own", root=tmp_path, image_size=64, **options)
    data.testing = True
    assert {split: len(ids) for split, ids in data.chosen_ids().items()} == {"train": 0, "val": 0, "test": images}


@pytest.mark.parametrize("layout", [coco_val_alone, exports.cvat_coco])
def test_images_of_one_split_are_all_scored(layout: Any, tmp_path: Path) -> None:
    layout(tmp_path)
    data = hydra_det.CocoData(name="own", root=tmp_path, image_size=64)
    data.testing = True
    truth = json.loads(next(path for path in tmp_path.rglob("*.json")).read_text())
    assert data.chosen_ids() == {"train": [], "val": [], "test": [image["id"] for image in truth["images"]]}
    assert data.class_names == [category["name"] for category in truth["categories"]]
    assert len(data.ground_truth("test")["annotations"]) == len(truth["annotations"])


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (["network=dense"], "network: expected none beside model.weights=, got dense"),
        (["model.weights=null"], r"got no model\.weights="),
        (["names=@names"], r"names: expected the classes of the data in their order \(.*\), got a, b from"),
        (["model.anchors=[[1,1],[2,2],[3,3],[4,4],[5,5],[6,6]]"], "give 'model.anchors="),
        (["model.weights=nowhere.safetensors"], "nowhere.safetensors: expected a .safetensors file"),
    ],
)
def test_what_does_not_go_together_is_one_line(finished: Path, tmp_path: Path, further: list[str], said: str) -> None:
    (tmp_path / "own.names").write_text("a\nb\n")
    typed = [word.replace("@names", str(tmp_path / "own.names")) for word in further]
    with pytest.raises(InputError, match=said):
        given(*words(finished, tmp_path, *typed)).score("given")


def test_a_run_has_its_own_settings(finished: Path) -> None:
    for word in ("seed=1", "data=shapes", "evaluation.bootstrap=0", "model=yolov3"):
        with pytest.raises(InputError, match=re.escape(f"{word}: expected nothing of the kind beside run=")):
            given(f"run={finished / 'run'}", word)
    with pytest.raises(
        InputError, match=r"expected run=.*got no run= and no model= and no model\.weights= and no data="
    ):
        given()


def test_names_may_differ_where_the_order_does_not(finished: Path, tmp_path: Path, caplog: Any) -> None:
    mine = FinishedRun(finished / "run").class_names
    names = tmp_path / "own.names"
    names.write_text("\n".join(["Something", *(name.upper() for name in mine[1:])]))
    with caplog.at_level("INFO"):
        given(*words(finished, tmp_path, f"names={names}")).network("given")
    assert f"taken to be the same: Something for {mine[0]}" in caplog.text
    names.write_text("\n".join([mine[1], mine[0], *mine[2:]]))
    with pytest.raises(InputError, match="expected the classes of the data in their order"):
        given(*words(finished, tmp_path, f"names={names}")).network("given")


def test_a_cfg_counts_by_what_it_says(tmp_path: Path, caplog: Any) -> None:
    weights, cfg, moved = tmp_path / "net.safetensors", written("depthwise", tmp_path), tmp_path / "moved.cfg"
    save_weights(darknet("depthwise"), weights)
    exports.cvat_coco(tmp_path / "images")

    def scored(file: Path, size: int = 64) -> Path:
        _, folder = given(
            "model=darknet", f"model.cfg={file}", f"model.weights={weights}", "data=coco", f"data.image_size={size}",
            f"data.root={tmp_path / 'images'}", "data.workers=0", "data.decoded=null", "attack=none",
            f"store={tmp_path / 'store'}",
        ).score("given")  # fmt: skip
        return folder

    with caplog.at_level("WARNING"):
        first = scored(cfg)
    assert "made for images of" not in caplog.text
    moved.write_text(cfg.read_text())
    assert scored(moved) == first, "the same network, wherever its text lies"
    cfg.write_text(cfg.read_text().replace("scale_x_y=1.1", "scale_x_y=2.0"))
    assert scored(cfg) != first, "another network in the same file"
    first = scored(cfg)
    save_weights(darknet("depthwise", seed=1), weights)
    assert scored(cfg) != first, "other weights in the same file"
    with caplog.at_level("WARNING"):
        scored(cfg, 96)
    assert "the .cfg is made for images of 64 px, they are scored at data.image_size=96" in caplog.text


def test_what_is_held_out_is_what_a_run_held_out(tmp_path: Path) -> None:
    exports.cvat_coco(tmp_path)
    exports.label_studio_yolo(tmp_path / "yolo")
    options: dict[str, Any] = {"name": "own", "image_size": 64, "split": 0.34, "allow_overlap": True}
    folders = {"train_images_dir": "images", "train_labels_dir": "labels"}
    for kind, own in (
        (hydra_det.CocoData, {"root": tmp_path}),
        (hydra_det.YoloData, {"root": tmp_path / "yolo"}),
        (hydra_det.YoloData, {"root": tmp_path / "yolo", **folders}),
    ):
        trained, tested = kind(**options, **own), kind(**options, **own)
        tested.testing = True
        assert tested.chosen_ids() == {"train": [], "val": [], "test": trained.chosen_ids()["test"]}
        assert len(tested.chosen_ids()["test"]) == 2


def test_the_file_says_what_was_scored_on_what(finished: Path, tmp_path: Path) -> None:
    scored = given(*words(finished, tmp_path))
    metrics, detections = scored.score("given")
    said = json.loads(write_scores(tmp_path, scored, "given", metrics, detections).read_text())
    assert said["run"] == str((finished / "run" / "stages" / "pretrain" / "weights.safetensors").resolve())
    assert said["dataset"] == {"name": "shapes", "test": 6, "fingerprint": scored.data.fingerprints["test"]}
    assert said["model"]["width"] == 0.125
    assert said["metrics"] == metrics
