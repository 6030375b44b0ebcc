"""`images=`: AP of some of the test images is that of these alone, and never taken for that of all."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hydra_det.finished.opening import open_scored
from hydra_det.finished.run import FinishedRun
from hydra_det.finished.scored import Scored, write_scores
from hydra_det.finished.suite.suite import Suite
from hydra_det.types import InputError
from tests.finished.test_given import words
from tests.pipeline.tiny import compose


def opened(*typed: str) -> tuple[Scored, str]:
    return open_scored(compose(typed, "evaluate"), typed=typed)


def of_the_run(finished: Path, *further: str) -> tuple[Scored, str]:
    return opened(f"run={finished / 'run'}", "attack.steps=2", *further)


def independent_ap(truth: dict[str, Any], found: list[dict[str, Any]], images: list[int]) -> float:
    """AP of some images from what was found in all, by plain pycocotools."""
    theirs = COCO()
    theirs.dataset = {
        **truth,
        "images": [image for image in truth["images"] if image["id"] in images],
        "annotations": [entry for entry in truth["annotations"] if entry["image_id"] in images],
    }
    theirs.createIndex()
    evaluation = COCOeval(theirs, theirs.loadRes([one for one in found if one["image_id"] in images]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def test_the_scores_are_those_of_the_chosen_images(finished: Path) -> None:
    whole, network = of_the_run(finished)
    every, everything = whole.score(network)
    some, _ = of_the_run(finished, "images=3")
    scores, folder = some.score(network)
    assert folder != everything, "the store does not mix them"
    chosen = some.data.chosen_ids()["test"]
    assert len(chosen) == 3
    found = json.loads((everything / "detections_clean.json").read_text())
    wanted = independent_ap(whole.data.ground_truth("test"), found, chosen)
    assert scores["clean"]["coco"]["map"] == pytest.approx(wanted, abs=1e-9)
    assert scores["clean"]["coco"]["map"] != every["clean"]["coco"]["map"]
    assert {one["image_id"] for one in json.loads((folder / "detections_attacked.json").read_text())} <= {*chosen}
    assert of_the_run(finished)[0].score(network) == (every, everything)


def test_they_are_the_same_under_every_attack_and_spread_as_by_test_images(finished: Path, tmp_path: Path) -> None:
    def chosen(*further: str) -> list[int]:
        return opened(*words(finished, tmp_path, *further))[0].data.chosen_ids()["test"]

    three = chosen("images=3")
    assert chosen("images=3", "attack.steps=1") == three == chosen("data.test_images=3")
    assert of_the_run(finished, "images=3", "network=dense")[0].data.chosen_ids()["test"] == three
    assert set(chosen("images=2")) < set(three) < set(chosen())
    assert chosen("images=3") != chosen()[:3], "not the first ones, which may show one scene"


def test_the_file_and_a_line_say_how_many(finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scored, network = opened(*words(finished, tmp_path, "images=4"))
        metrics, detections = scored.score(network)
    assert "4 of 6 test images" in caplog.text
    said = json.loads(write_scores(tmp_path, scored, network, metrics, detections).read_text())["dataset"]
    assert said == {"name": "shapes", "test": 4, "fingerprint": scored.data.fingerprints["test"]}
    assert said["fingerprint"] != opened(*words(finished, tmp_path))[0].data.fingerprints["test"]


def test_all_are_used_where_there_are_no_more(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, network = of_the_run(finished)
    with caplog.at_level(logging.INFO):
        more, _ = of_the_run(finished, "images=7")
        assert more.score(network) == whole.score(network)
    assert "images: expected at most the 6 test images, got 7; all are used" in caplog.text
    assert more.data.fingerprints == whole.data.fingerprints


@pytest.mark.parametrize("suite", ["epsilon", "corruptions"])
def test_a_suite_takes_them_too(suite: str, finished: Path, tmp_path: Path) -> None:
    settings = compose([f"run={finished / 'run'}", f"suite={suite}", "images=2"], "evaluate")
    attacks = settings["suite"]["attacks"]
    settings["suite"]["attacks"] = {name: attacks[name] for name in list(attacks)[1:3]}

    def made() -> Suite:
        scored, network = open_scored(settings)
        return Suite(scored, {**settings, "network": network})

    found = made().score(tmp_path)
    kept = json.loads((tmp_path / "robustness.json").read_text())
    assert kept["images"] == found["images"] == 2
    assert kept["origin"]["dataset"] == made().run.data.fingerprints["test"]
    assert kept["origin"]["dataset"] != FinishedRun(finished / "run").data.fingerprints["test"]
    made().check_folder(tmp_path)
    settings["images"] = None
    with pytest.raises(InputError, match="one with images=2 instead of 6; give another"):
        made().check_folder(tmp_path)


@pytest.mark.parametrize("number", ["0", "-3", "2.5", "true", "many"])
def test_what_is_no_number_of_images_is_one_line(number: str, finished: Path) -> None:
    with pytest.raises(InputError, match=r"^images: expected a whole number of at least 1, or null .*, got \S+$"):
        of_the_run(finished, f"images={number}")
