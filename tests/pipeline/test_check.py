"""What is said of weights before anything is trained with them."""

import json
import logging
import shutil

import pytest
from safetensors.torch import load_file, save_file

from hydra_det.engines import registry
from hydra_det.pipeline.build import read_yaml
from hydra_det.pipeline.check import check
from hydra_det.pipeline.check_network import check_earlier
from hydra_det.types import InputError
from tests.pipeline.tiny import arguments, compose
from train import train

YOLO = {"_target_": "hydra_det.modules.yolo.yolov3.YOLOv3"}


@pytest.fixture(autouse=True)
def all_warnings(caplog, monkeypatch):
    """Are seen, also those that an earlier job of this process has said: it leaves its level and its filters."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(caplog.handler, "filters", [])


def forgetful(weights):
    """Weights that do not say their anchors, as those of earlier versions, in the place of those that do."""
    save_file(load_file(weights), weights)


@pytest.fixture
def earlier(finished, tmp_path):
    """A copy of a finished run, whose files may be changed."""
    shutil.copytree(finished, tmp_path / "earlier")
    return tmp_path / "earlier"


def as_floats(anchors):
    return [[float(length) for length in anchor] for anchor in anchors]


def plan(folder, run, *further):
    """What the runner makes of the weights of an earlier run."""
    weights = run / "run" / "stages" / "pretrain" / "weights.safetensors"
    words = (f"data.root={run / 'shapes'}", "model.anchors=auto", f"model.weights={weights}", "dry_run=true", *further)
    train(compose(arguments(folder, *words)), folder / "run")


def test_anchors_of_weights_are_taken_where_none_are_given(finished, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    anchors = as_floats(read_yaml(finished / "run" / "config.yaml")["model"]["anchors"])
    plan(tmp_path, finished, "data.image_size=32")  # whose own would be half as large
    (said,) = [line for line in caplog.messages if line.startswith("model.anchors: ")]
    assert said.endswith(f"weights.safetensors was trained with: {anchors}")


@pytest.mark.parametrize("forgets", [False, True])
def test_weights_that_learned_with_other_anchors_are_refused(earlier, tmp_path, forgets):
    config = earlier / "run" / "config.yaml"
    anchors = as_floats(read_yaml(config)["model"]["anchors"])
    if forgets:
        forgetful(earlier / "run" / "stages" / "pretrain" / "weights.safetensors")
    others = [[width / 2, height / 2] for width, height in anchors]
    for words in [(f"model.anchors={others}",), *([("data.image_size=32",)] if forgets else [])]:
        with pytest.raises(InputError, match="expected a network with the anchors that these weights were") as refused:
            plan(tmp_path, earlier, *words)
        said, typed = str(refused.value).removesuffix("'").split("; give 'model.anchors=")
        assert said.endswith("objects of other sizes")
        assert json.loads(typed) == anchors
    plan(tmp_path, earlier, f"model.anchors={anchors}")


def test_the_anchors_of_a_run_are_asked_for_weights_that_say_none(earlier, monkeypatch):
    config = read_yaml(earlier / "run" / "config.yaml")["model"]
    forgetful(earlier / "run" / "stages" / "pretrain" / "weights.safetensors")
    monkeypatch.chdir(earlier / "run" / "stages")
    about = {**YOLO, "weights": "pretrain/weights.safetensors", "num_classes": config["num_classes"]}
    check_earlier({**about, "anchors": config["anchors"]})
    check_earlier({**YOLO, "weights": None, "anchors": None})
    check_earlier({**about, "num_classes": config["num_classes"] + 1, "anchors": [[1, 2]]})  # its heads are made anew
    with pytest.raises(InputError, match="were trained with"):
        check_earlier(about)  # none: those of the network itself


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
    check_earlier({**YOLO, "weights": weights, "anchors": [[1, 2]], "num_classes": 6})
    assert (said.format(tmp_path) in caplog.text) if said else (caplog.text == "")


def test_a_budget_of_time_needs_the_engine_before_anything_is_trained(tmp_path, monkeypatch):
    find = registry.importlib.util.find_spec
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    for granularity in ("weight", "kernel"):
        words = arguments(tmp_path, f"prune={granularity}", "prune.budget=latency")
        with pytest.raises(
            InputError, match=r"prune\.budget: expected the package numba .*, or take parameters or flops"
        ):
            check(compose(words))
    with pytest.raises(InputError, match=r"evaluation\.latency\.sparse: expected the package numba .*set it to false"):
        check(compose(arguments(tmp_path, "evaluation.latency.sparse=true")))
    check(compose(arguments(tmp_path, "prune=filter_group", "prune.budget=latency")))
