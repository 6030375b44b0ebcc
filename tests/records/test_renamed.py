"""Old names of classes and recipes lead to what they are called now."""

import importlib
import json
import logging
from pathlib import Path

import pytest

from hydra_det.records.record import read_record, write_record
from hydra_det.records.renamed import GROUPS, MODULES, current_names, current_words, first_names
from hydra_det.records.schema import CHECKSUM, checksum
from hydra_det.store.store import fingerprint
from tests.reports.example import example_record

CONF = Path(__file__).parents[2] / "conf"


def test_targets_are_renamed_at_any_depth_and_nothing_else_is() -> None:
    old = {
        "model": {"_target_": "hydra_det.modules.yolov3.YOLOv3", "name": "hydra_det.modules.yolov3.YOLOv3"},
        "parts": [{"_target_": "hydra_det.callbacks.progress.EpochLine"}, {"_target_": "mine.loss.Loss"}, 3],
        "nms": {"_target_": "hydra_det.modules.yolo.NmsSettings"},
        "_target_": 5,
    }
    assert current_names(old) == {
        "model": {"_target_": "hydra_det.modules.yolo.yolov3.YOLOv3", "name": "hydra_det.modules.yolov3.YOLOv3"},
        "parts": [{"_target_": "hydra_det.callbacks.watching.progress.EpochLine"}, {"_target_": "mine.loss.Loss"}, 3],
        "nms": {"_target_": "hydra_det.modules.yolo.base.NmsSettings"},
        "_target_": 5,
    }


def test_there_and_back_is_as_it_was() -> None:
    old = [{"_target_": f"{module}.Thing"} for module in MODULES]
    assert first_names(current_names(old)) == old
    assert current_names(old) != old


def test_a_class_that_moved_leaves_the_fingerprint_of_what_was_made_with_it() -> None:
    old, new = ({"config": {"_target_": f"{where}.NmsSettings"}} for where in ("hydra_det.modules.yolo", "mine"))
    assert fingerprint(current_names(old)) == fingerprint(old) != fingerprint(new)


def test_what_is_named_already_stays() -> None:
    config = {"_target_": "hydra_det.modules.yolo.base.NmsSettings"}
    assert current_names(config) == config


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_every_new_module_is_there(module: str) -> None:
    importlib.import_module(module)


def test_an_old_record_names_the_classes_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, example_record())
    content = json.loads(path.read_text())
    del content[CHECKSUM]
    content["config"]["model"] = {"_target_": "hydra_det.modules.yolov3.YOLOv3Tiny"}
    path.write_text(json.dumps({**content, CHECKSUM: checksum(content)}))
    assert read_record(path).config["model"] == {"_target_": "hydra_det.modules.yolo.yolov3.YOLOv3Tiny"}


def test_old_recipes_are_taken_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        words = current_words(["train.py", "-m", "+experiment=bccd_clean,smoke", "seed=1", "x=replication"])
    assert words == ["train.py", "-m", "+experiment=bccd/clean,smoke", "seed=1", "x=replication"]
    assert [record.getMessage() for record in caplog.records] == [
        "experiment=bccd_clean is now experiment=bccd/clean; the old name goes with version 0.2"
    ]
    assert current_words(["configuration=scaled_weight,learned_allocation"]) == [
        "configuration=scaled_weight,recommended"
    ]
    assert current_words(["experiment=replication_start"]) == ["experiment=replication/start"]


@pytest.mark.parametrize(
    ("group", "old", "new"), [(group, *pair) for group in GROUPS for pair in GROUPS[group].items()]
)
def test_new_recipes_are_there_and_old_ones_are_not(group: str, old: str, new: str) -> None:
    assert (CONF / group / f"{new}.yaml").is_file()
    assert not (CONF / group / f"{old}.yaml").exists()
