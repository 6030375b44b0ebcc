"""Padding in the threat model: in scores, records, the worst case of a suite and what tables say of it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hydra_det.finished.opening import open_scored
from hydra_det.finished.scored import write_scores
from hydra_det.finished.suite.suite import Suite
from hydra_det.pipeline.description import threat_model
from hydra_det.records.robustness import ROBUSTNESS, read_robustness
from hydra_det.reports.tables.robustness import suite_table
from hydra_det.reports.tables.terminal import threat_in_words
from hydra_det.types import InputError
from tests.data.layouts import exports
from tests.pipeline.tiny import compose

PGD = "hydra_det.attacks.gradient.PGD"


@pytest.fixture
def wide(finished: Path, tmp_path: Path) -> list[str]:
    """What is typed for weights on images that are wider than high."""
    exports.cvat_coco(tmp_path / "images")
    names = tmp_path / "images" / "annotations" / "instances_default.json"
    truth = json.loads(names.read_text())
    known = len(truth["categories"])
    truth["categories"] += [{"id": 100 + more, "name": f"more_{more}"} for more in range(6 - known)]
    names.write_text(json.dumps(truth))
    weights = finished / "run" / "stages" / "pretrain" / "weights.safetensors"
    return [
        "model=yolov3_tiny", "model.width=0.125", f"model.weights={weights}", "data=coco", "data.image_size=64",
        f"data.root={tmp_path / 'images'}", "data.workers=0", "data.decoded=null", f"store={tmp_path / 'store'}",
    ]  # fmt: skip


def test_the_record_of_one_attack_says_it(wide: list[str], tmp_path: Path) -> None:
    folders = {}
    for words, padding in (([], False), (["attack.padding=true"], True)):
        scored, network = open_scored(compose([*wide, "attack.steps=2", *words], "evaluate"))
        assert all(record.width > record.height for record in scored.data.splits["test"].records)
        metrics, folders[padding] = scored.score(network)
        said = json.loads(write_scores(tmp_path, scored, network, metrics, folders[padding]).read_text())
        assert said["attack"]["padding"] is padding
        assert ("padding included" in threat_in_words(said["attack"])) == padding
    clean, attacked = (
        [(folders[padding] / f"detections_{name}.json").read_text() for padding in (False, True)]
        for name in ("clean", "attacked")
    )
    assert clean[0] == clean[1]
    assert attacked[0] != attacked[1], "another attack, kept apart in the store"


def suite(words: list[str], **further: Any) -> Suite:
    """Two attacks of the suite, one of them on padding, and one in a larger ball."""
    settings = compose([*words, "suite=quick"], "evaluate")
    short = {"_target_": PGD, "epsilon": settings["suite"]["epsilon"], "step_size": None, "steps": 2}
    large = {**short, "epsilon": 0.25}
    settings["suite"]["attacks"] = {"pgd": short, "everywhere": {**short, "padding": True}, "pgd_large": large}
    settings["suite"] |= further
    scored, network = open_scored(settings)
    return Suite(scored, {**settings, "network": network})


def shown(found: Any) -> str:
    text = io.StringIO()
    Console(width=130, file=text).print(suite_table(found, title="net"))
    return text.getvalue()


def test_a_member_that_changes_padding_is_kept_out_of_the_worst_case(wide: list[str], tmp_path: Path) -> None:
    made = suite(wide)
    assert made.asked.inside == ["clean", "pgd"]
    made.score(tmp_path)
    found = read_robustness(tmp_path / ROBUSTNESS)
    assert found["padding"] is False
    entries = {entry["name"]: entry for entry in found["attacks"]}
    assert [entry["attack"]["padding"] for entry in entries.values()] == [False, True, False]
    assert entries["everywhere"]["config"]["padding"] is True
    assert entries["everywhere"]["worst_for"] == entries["pgd_large"]["worst_for"] == 0
    assert "everywhere" not in (tmp_path / "images.csv").read_text()
    text = shown(found)
    assert "everywhere (padding too) " in text
    assert "pgd_large (beyond the ball) " in text
    assert "pgd  " in text
    assert "padding included" not in text


def test_a_suite_may_change_padding_in_all_of_its_attacks(wide: list[str], tmp_path: Path) -> None:
    made = suite([*wide, "suite.padding=true"])
    assert made.asked.inside == ["clean", "pgd", "everywhere"]
    found = made.score(tmp_path)
    entries = {entry["name"]: entry for entry in found["attacks"]}
    assert all(entry["attack"]["padding"] and entry["config"]["padding"] for entry in entries.values())
    assert entries["pgd"]["metrics"] == entries["everywhere"]["metrics"], "they are the same attack now"
    text = shown(found)
    assert "suite quick, 6 images, padding included" in text
    assert "padding too" not in text
    made.check_folder(tmp_path)
    with pytest.raises(InputError, match=r"one with suite\.padding=True instead of False; give another"):
        suite(wide).check_folder(tmp_path)


def test_a_result_without_the_word_means_no_padding(wide: list[str], tmp_path: Path) -> None:
    suite(wide).score(tmp_path)
    earlier = json.loads((tmp_path / ROBUSTNESS).read_text())
    del earlier["padding"]
    for entry in earlier["attacks"]:
        if not entry["attack"]["padding"]:
            del entry["attack"]["padding"]
    (tmp_path / ROBUSTNESS).write_text(json.dumps(earlier))
    suite(wide).check_folder(tmp_path)
    assert "everywhere (padding too) " in shown(read_robustness(tmp_path / ROBUSTNESS))
    assert threat_in_words(earlier["attacks"][0]["attack"]) == threat_in_words(
        threat_model(earlier["attacks"][0]["config"])
    )


def test_the_walk_along_the_gradient_stays_where_the_suite_may_go(wide: list[str], tmp_path: Path) -> None:
    without, everywhere = suite(wide).score(tmp_path / "a"), suite(wide, padding=True).score(tmp_path / "b")
    assert without["curve"][0] == everywhere["curve"][0]
    assert without["curve"][-1] < everywhere["curve"][-1]


def test_a_suite_of_somebody_may_say_it_itself(tmp_path: Path, finished: Path) -> None:
    """The suite comes after what evaluate.yaml says, and what is typed after both."""
    assert compose(["suite=quick"], "evaluate")["suite"]["padding"] is False
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "mine.yaml").write_text("padding: true\nname: mine\nepsilon: 0.1\naxis: null\nattacks: {}\n")
    there = f"hydra.searchpath=[file://{tmp_path}]"
    assert compose([there, "suite=mine"], "evaluate")["suite"]["padding"] is True
    assert compose([there, "suite=mine", "suite.padding=false"], "evaluate")["suite"]["padding"] is False


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["suite=quick", "suite.padding=some"], r"suite\.padding: expected true or false, got 'some'"),
        (["suite=corruptions", "suite.padding=true"], r"suite\.padding: expected false, as corruptions leave padding"),
        (["suite.padding=true"], r"suite\.padding: expected a suite beside it, got none; .*attack\.padding=true"),
    ],
)
def test_what_cannot_be_meant_is_one_line(words: list[str], complaint: str, finished: Path) -> None:
    settings = compose([f"run={finished / 'run'}", *words], "evaluate")

    def asked() -> Suite:
        scored, network = open_scored(settings)
        return Suite(scored, {**settings, "network": network})

    with pytest.raises(InputError, match=complaint):
        asked()
