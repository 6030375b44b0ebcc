"""What is said of weights before anything is trained with them."""

import json
import logging

import pytest

from hydra_det.pipeline.build import read_yaml
from hydra_det.pipeline.check import check_anchors
from tests.pipeline.tiny import arguments, compose
from train import train


@pytest.fixture(autouse=True)
def all_warnings(caplog, monkeypatch):
    """Are seen, also those that an earlier job of this process has said: it leaves its level and its filters."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(caplog.handler, "filters", [])


@pytest.mark.parametrize(("further", "warned"), [("seed=1", False), ("data.image_size=32", True)])
def test_weights_that_learned_with_other_anchors_are_named(finished, tmp_path, caplog, further, warned):
    weights = finished / "run" / "stages" / "pretrain" / "weights.safetensors"
    words = (f"data.root={finished / 'shapes'}", f"model.weights={weights}", "dry_run=true", further)
    train(compose(arguments(tmp_path, *words)), tmp_path / "run")
    assert ("expected the anchors that they were trained with" in caplog.text) == warned


def test_the_anchors_to_give_are_said(finished, monkeypatch, caplog):
    config = finished / "run" / "config.yaml"
    anchors = read_yaml(config)["model"]["anchors"]
    monkeypatch.chdir(finished / "run" / "stages")
    check_anchors({"weights": "pretrain/weights.safetensors", "anchors": anchors})
    check_anchors({"weights": None, "anchors": None})
    assert caplog.text == ""
    check_anchors({"weights": "pretrain/weights.safetensors"})  # none: those of the network itself
    (warning,) = caplog.messages
    typed = json.dumps(anchors).replace(" ", "")
    assert warning.endswith(
        f"got others, which look for objects of other sizes; give those of {config}: 'model.anchors={typed}'"
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("a/stages/pretrain/weights.safetensors", "are unknown, as {}/a/config.yaml cannot be read"),
        ("a/nets/darknet/yolov3.weights", ""),
        ("yolov3.weights", ""),
    ],
)
def test_a_config_that_is_not_of_the_run_of_the_weights_says_nothing(tmp_path, monkeypatch, caplog, weights, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for config in ("config.yaml", "a/config.yaml"):
        (tmp_path / config).write_text("model: {}\n")
    check_anchors({"weights": weights, "anchors": [[1, 2]]})
    assert (said.format(tmp_path) in caplog.text) if said else (caplog.text == "")
