"""The example of a network of one's own in a whole run, and what becomes of the run afterwards."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import hydra_det
from hydra_det.finished.opening import open_scored
from hydra_det.finished.predict import open_predictor
from hydra_det.pipeline import build
from hydra_det.pipeline.stages.identity import source_of
from tests.examples.own_network import DATA, EXAMPLES, MODEL, SHORT, TARGET
from tests.pipeline import tiny
from tests.pipeline.tiny import compose, run


def test_all_five_stages_leave_half_of_the_kernels(trained: Path, own_network: Any) -> None:
    opened = hydra_det.load_run(trained / "run", trusted=[TARGET])
    record = opened.record
    assert [stage["name"] for stage in record.stages] == list(build.read_yaml(trained / "run" / "config.yaml")["stage"])
    scored = next(stage["facts"] for stage in record.stages if stage["name"] == "init_scores")
    assert 0 < scored["completeness_gap"] < 1e-3, "every module has a rule"
    net: Any = opened.network("pruned")
    assert isinstance(net, own_network.MyDetector)
    masked = {name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    assert {layer["name"] for layer in record.sparsity["layers"]} == masked, "of the backbone, too"
    assert record.sparsity["pruned"] / record.sparsity["total"] == pytest.approx(0.5, abs=0.01)
    assert set(record.latency) == {"dense", "pruned", "compact"}
    assert record.latency["dense"]["candidates"] is not None, "suppression is timed apart, and what it sorts is counted"


def test_a_finished_run_opens_for_who_trusts_its_class(trained: Path, own_network: Any) -> None:
    with pytest.raises(hydra_det.InputError, match=r"model\._target_: .* if it is yours, .* add trust=\[own_network\."):
        hydra_det.load_run(trained / "run")
    opened = hydra_det.load_run(trained / "run", trusted=[TARGET])
    scores = hydra_det.evaluate(opened.network("pruned"), opened.data)
    assert scores["clean"]["coco"] == opened.record.metrics["pruned"]["clean"]["coco"]
    picture = opened.data.splits["test"].records[0].path
    found = hydra_det.Predictor.from_run(opened, confidence=0.0, attack=hydra_det.FGSM(epsilon=0.05))(picture)
    assert len(found.clean.objects) > 10
    assert found.attacked is not None
    assert found.attacked.objects != found.clean.objects


def test_its_weights_are_scored_and_used_without_the_run(trained: Path, own_network: Any, tmp_path: Path) -> None:
    weights = f"model.weights={trained / 'run' / 'stages' / 'pretrain' / 'weights.safetensors'}"
    images = ["data=shapes", f"data.root={trained / 'shapes'}", f"data.decoded={tmp_path / 'decoded'}", *DATA]
    words = [*MODEL, weights, *images, "attack=none", "evaluation.bootstrap=0", f"store={tmp_path / 'store'}"]
    scored, network = open_scored(compose(words, "evaluate"), typed=words)
    record = hydra_det.load_run(trained / "run", trusted=[TARGET]).record
    assert scored.score(network)[0]["clean"]["coco"] == record.metrics["dense"]["clean"]["coco"]
    names = tmp_path / "names.txt"
    names.write_text("\n".join(record.dataset["classes"]))
    words = [*MODEL, weights, f"names={names}", "image_size=64", "confidence=0", "source=none"]
    predict = open_predictor(compose(words, "detect"))
    assert predict(scored.data.splits["test"].records[0].path).clean.objects


def test_what_is_written_anew_is_trained_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage is found by what it depends on; a network that is being written changes, and its settings do not."""
    shutil.copy(EXAMPLES / "own_network.py", tmp_path / "mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    model = {"_target_": "mine.MyDetector"}
    before = source_of(model)
    assert source_of(model) == before != {}
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("OVERLAP = 0.7", "OVERLAP = 0.5"))
    assert source_of(model) != before
    assert source_of({"_target_": "hydra_det.modules.yolo.yolov3.YOLOv3"}) == {}
    assert source_of({"_target_": "torch.nn.modules.module._global_parameter_registration_hooks.copy"}) == {}


@pytest.mark.parametrize("granularity", ["filter_group", "hybrid"])
def test_whole_channels_go_as_well(tmp_path: Path, own_network: Any, monkeypatch: Any, granularity: str) -> None:
    monkeypatch.setattr(tiny, "OVERRIDES", [word for word in SHORT if not word.startswith("attack.")])
    words = [f"prune={granularity}", "prune.budget=flops" if granularity == "filter_group" else "prune.ratio=0.5"]
    record = run(tmp_path, *MODEL, *words, "stage.pretrain.epochs=0", "stage.pretrain.clean_epochs=0", "attack=none")
    assert 0.2 < record.sparsity["pruned"] / record.sparsity["total"] < 0.9


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (None, r"No module named 'mine'.* that module 'mine' is installed, or its folder in PYTHONPATH\?"),
        ("import torch.no_such_thing", "No module named 'torch.no_such_thing'"),
        (
            "from own_network import MyDetector as Base\nclass MyDetector(Base):\n"
            "    def forward(self, images):\n        return super().forward(images[:, :2])\n",
            r"expected MyDetector to answer two images of noise, \[2, 3, 64, 64\] in \[0, 1\], got RuntimeError: .* "
            r"\(.*own_network\.py, line \d+\); hydra\.verbose=true shows the traceback",
        ),
    ],
)
def test_what_is_wrong_with_the_module_is_one_line(
    tmp_path: Path, own_network: Any, monkeypatch: pytest.MonkeyPatch, module: str | None, said: str
) -> None:
    monkeypatch.setattr(tiny, "OVERRIDES", SHORT)
    if module is not None:
        (tmp_path / "mine.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    with pytest.raises(hydra_det.InputError, match=said) as caught:
        run(tmp_path, "model=own", "model._target_=mine.MyDetector")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists(), "nothing was trained"
