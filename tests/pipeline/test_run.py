"""Whole runs, tiny: what they leave behind, what they share, and how they go on."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hydra_det.callbacks.watching.progress import EpochLine
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.yolo.yolov3 import YOLOv3Tiny
from hydra_det.pipeline import build
from hydra_det.pipeline.runner import comparable
from hydra_det.pipeline.stages import identity
from hydra_det.pipeline.stages.stage import STAGES, Stage
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.records.record import read_record
from hydra_det.records.table import records_frame
from hydra_det.store.store import Store
from hydra_det.types import InputError
from tests.pipeline.tiny import arguments, compose, run


def test_the_record_reads_back_and_names_every_stage(finished):
    record = read_record(finished / "run" / "record.json")
    assert [stage["name"] for stage in record.stages] == [
        "pretrain", "init_scores", "train_scores", "prune", "finetune",
    ]  # fmt: skip
    assert not any(stage["reused"] for stage in record.stages)
    assert record.config["choices"]["init"] == "scaled"
    assert (record.attack["name"], record.attack["steps"], record.attack["random_start"]) == ("pgd", 2, False)


def test_every_layer_of_the_saved_file_keeps_exactly_the_asked_share(finished):
    record = read_record(finished / "run" / "record.json")
    tensors = load_file(finished / "run" / "stages" / "finetune" / "weights.safetensors")
    masks = {name: mask for name, mask in tensors.items() if name.endswith(".mask")}
    assert (
        len(masks) == len(record.sparsity["layers"]) == sum(t.ndim == 4 for n, t in tensors.items() if ".weight" in n)
    )
    for layer in record.sparsity["layers"]:
        mask = masks[f"{layer['name']}.mask"]
        assert layer["pruned"] == np.count_nonzero(~mask.astype(bool)) == round(0.75 * mask.size)
    assert record.sparsity["kept"] == sum(int(mask.sum()) for mask in masks.values())


def test_the_mask_of_finetune_is_that_of_prune_and_scores_moved_only_in_train_scores(finished):
    stages = finished / "run" / "stages"
    initial, trained, pruned, final = (
        load_file(stages / name / "weights.safetensors")
        for name in ("init_scores", "train_scores", "prune", "finetune")
    )
    for name in initial:
        if name.endswith((".mask", ".scores")):
            np.testing.assert_array_equal(pruned[name], final[name])
        if name.endswith(".scores"):
            np.testing.assert_array_equal(trained[name], pruned[name])
            assert not np.array_equal(initial[name], trained[name])
        elif ".norm." in name:  # learns with the scores; then zero where the mask leaves a channel nothing to hear
            assert not pruned[name][trained[name] != pruned[name]].any()
        elif not name.endswith(".mask"):
            np.testing.assert_array_equal(initial[name], pruned[name])


def test_ap_equals_plain_pycocotools_on_the_saved_detections(finished, capsys):
    record = read_record(finished / "run" / "record.json")
    (annotations,) = (finished / "shapes").rglob("*test*.json")
    truth = COCO(str(annotations))
    for network in ("dense", "pruned"):
        for condition in ("clean", "attacked"):
            file = finished / "run" / network / f"detections_{condition}.json"
            evaluation = COCOeval(truth, truth.loadRes(str(file)), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            metrics: Any = record.metrics
            scored = metrics[network][condition]["coco"]
            for key, expected in zip(("map", "map_50", "map_75"), evaluation.stats, strict=False):
                assert scored[key] == pytest.approx(expected, abs=1e-6)


def test_the_csv_holds_the_detections_of_the_json(finished):
    folder = finished / "run" / "pruned"
    results = json.loads((folder / "detections_clean.json").read_text())
    with (folder / "detections_clean.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results) > 0
    for row, result in zip(rows, results, strict=True):
        assert float(row["confidence"]) == result["score"]
        assert float(row["x_max"]) == pytest.approx(result["bbox"][0] + result["bbox"][2])


def test_tensorboard_shows_losses_ap_sparsity_and_pictures(finished):
    logs = finished / "run" / "logs"
    pretrain = EventAccumulator(str(logs / "1_pretrain")).Reload()
    assert {"train/loss_box", "train/loss_objectness", "train/loss_classification"} <= set(pretrain.Tags()["scalars"])
    assert {"val/map", "val/map_attacked"} <= set(pretrain.Tags()["scalars"])
    assert pretrain.Tags()["images"] == ["val/clean_vs_attacked"]
    finetune = EventAccumulator(str(logs / "5_finetune")).Reload()
    assert [event.step for event in finetune.Scalars("val/map_attacked")] == [7], "the last epoch is always validated"
    scored = EventAccumulator(str(logs / "3_train_scores")).Reload()
    assert scored.Scalars("mask/sparsity")[-1].value == pytest.approx(0.75, abs=1e-3)


def test_a_run_with_deeplift_says_how_complete_its_scores_are(finished):
    words = ["init=deeplift", "init.images=8", "stage.train_scores.epochs=0"]
    record = run(finished, "prune.ratio=0.75", *words, name="deeplift")
    again = read_record(finished / "deeplift" / "record.json")
    first, second, *_ = again.stages
    assert first["reused"]
    assert set(first["facts"]) == {"history"}
    history = first["facts"]["history"]
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert all(line["loss"] > 0 and line["seconds"] > 0 for line in history)
    assert [("map" in line, "map_attacked" in line) for line in history] == [(False, False)] * 2 + [(True, True)]
    facts = dict(second["facts"])
    assert facts.pop("completeness_gap") < 1e-3
    assert facts.pop("dtype") in ("float32", "float64")  # the latter where training this short leaves no answer
    assert 0 < facts.pop("seconds") < second["seconds"] + 1e-3
    assert facts == {
        "target": "loss", "reference": "clean", "rule": "rescale", "aggregation": "absolute",
        "normalise": "channels", "blend": "rank", "blend_share": 0.5, "sizes": "weights", "images": 8,
        "micro_batch": 4, "attacked": True,
    }  # fmt: skip
    assert record.stages == again.stages
    log = EventAccumulator(str(finished / "deeplift" / "logs" / "2_init_scores")).Reload()
    assert {"layers/sparsity", "layers/score_size"} == set(log.Tags()["histograms"])


def test_the_second_run_trains_nothing_and_says_the_same(finished, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the second run trained or tested something")

    monkeypatch.setattr(pl.Trainer, "fit", refuse)
    monkeypatch.setattr(pl.Trainer, "test", refuse)
    again = run(finished, "prune.ratio=0.75", name="again")
    first = read_record(finished / "run" / "record.json")
    assert all(stage["reused"] for stage in again.stages)
    assert again.metrics == first.metrics
    assert again.sparsity == first.sparsity
    # Time alone is measured anew: that of another minute would not compare.
    assert all(again.latency[network]["total"] != first.latency[network]["total"] for network in ("dense", "pruned"))


def test_runs_of_another_ratio_share_pretraining_and_initialisation(finished):
    other = run(finished, "prune.ratio=0.5", "prune=kernel", name="other")
    first = read_record(finished / "run" / "record.json")
    assert [stage["reused"] for stage in other.stages] == [True, True, False, False, False]
    shared = [a["fingerprint"] == b["fingerprint"] for a, b in zip(other.stages, first.stages, strict=True)]
    assert shared == [True, True, False, False, False]
    for layer in other.sparsity["layers"]:
        outputs, inputs, height, width = layer["shape"]
        assert layer["pruned"] == round(0.5 * outputs * inputs) * height * width


# What is changed -> the first stage that depends on it; all later ones then do.
FIRST_CHANGED = {
    "seed=1": "pretrain",
    "data.seed=1": "pretrain",
    "data.flip=0.0": "pretrain",
    "data.train_images=12": "pretrain",
    "data.val_images=6": "pretrain",  # they are taken out of the training images
    "stage.pretrain.epochs=4": "pretrain",
    "attack.epsilon=0.03": "pretrain",
    "model.width=0.25": "pretrain",
    "trainer.gradient_clip_val=1.0": "pretrain",
    "+trainer.max_steps=1": "pretrain",
    "+trainer.overfit_batches=1": "pretrain",
    "trainer={accelerator:cpu,devices:2,strategy:ddp}": "pretrain",
    "+callbacks.swa={_target_:pytorch_lightning.callbacks.StochasticWeightAveraging,swa_lrs:0.1}": "pretrain",
    "out_of_memory=halve": "pretrain",  # which may then have been trained with smaller batches
    "init=random": "init_scores",
    "prune.exclude=[heads]": "init_scores",
    "prune.ratio=0.9": "train_scores",
    "prune=kernel": "train_scores",
    "prune.budget=latency": "train_scores",
    "stage.train_scores.optimizer.lr=0.1": "train_scores",
    "stage.finetune.attacked_share=1": "finetune",
    "model.nms.iou=0.5": None,
    "data.test_images=3": None,
    "data.workers=1": None,
    "data.evaluation_batch_size=3": None,
    "evaluation.latency.repeats=9": None,
    "trainer.log_every_n_steps=1": None,
    "trainer.check_val_every_n_epoch=1": None,
    "callbacks.inspection.images=1": None,
}


@pytest.mark.parametrize(("changed", "first"), FIRST_CHANGED.items(), ids=list(FIRST_CHANGED))
def test_a_fingerprint_changes_with_what_its_stage_depends_on(finished, changed, first):
    before, after = keys(finished), keys(finished, changed)
    expected = STAGES[STAGES.index(first) :] if first else ()
    assert tuple(name for name in STAGES if before[name] != after[name]) == expected


@pytest.mark.parametrize(("budget", "first"), [("latency", "train_scores"), ("parameters", None)])
def test_a_budget_of_time_holds_on_one_machine(finished, monkeypatch, budget, first):
    before = keys(finished, f"prune.budget={budget}")
    monkeypatch.setattr(identity, "machine", lambda _: {"device": "another one", "threads": 1})
    after = keys(finished, f"prune.budget={budget}")
    expected = STAGES[STAGES.index(first) :] if first else ()
    assert tuple(name for name in STAGES if before[name] != after[name]) == expected


def keys(folder: Path, *further: str) -> dict[str, str]:
    config = compose(arguments(folder, *further))
    data = build.data(config)
    data.prepare()
    runner = StageRunner(config, data=data, model=build.model_config(config, data), store=Store(folder / "store"))
    found: dict[str, str] = {}
    stage = None
    for name in STAGES:
        found[name] = runner.key(name, stage)
        stage = Stage(name, found[name], folder, 0.0, {}, False)
    return found


@pytest.mark.parametrize(
    "stopped", ["pretrain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("train_scores", "finetune"))]
)
def test_an_interrupted_stage_goes_on_and_ends_as_if_undisturbed(finished, tmp_path, monkeypatch, stopped):
    begun: list[tuple[str, int]] = []
    start = EpochLine.on_train_epoch_start
    last = (stopped, {"pretrain": 2}.get(stopped, 1))

    def stop_in_the_last_epoch(self, trainer, module):
        begun.append((self.name, trainer.current_epoch))
        if begun[-1] == last and begun.count(last) == 1:
            raise RuntimeError("pulled the plug")
        start(self, trainer, module)

    monkeypatch.setattr(EpochLine, "on_train_epoch_start", stop_in_the_last_epoch)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        run(tmp_path, "prune.ratio=0.75")
    assert not list((tmp_path / "store").glob(f"{stopped}-*/stage.json"))
    record = run(tmp_path, "prune.ratio=0.75")
    # The epochs before the last one were not trained again.
    assert [epoch for name, epoch in begun if name == stopped] == [*range(last[1] + 1), last[1]]
    assert record.metrics == read_record(finished / "run" / "record.json").metrics
    for name in STAGES:
        file = Path("run", "stages", name, "weights.safetensors")
        assert (tmp_path / file).read_bytes() == (finished / file).read_bytes()


@pytest.mark.engine
def test_the_compact_network_is_timed_in_the_sparse_engine(finished, tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "store").symlink_to(finished / "store")
    record = run(tmp_path, "prune.ratio=0.75", "evaluation.latency.sparse=true", "evaluation.latency.repeats=4")
    assert list(record.latency) == ["dense", "pruned", "compact", "sparse"]
    assert (record.latency["sparse"]["repeats"], record.latency["sparse"]["device"]) == (4, "cpu")
    assert record.latency["sparse"]["forward"]["median_ms"] != record.latency["compact"]["forward"]["median_ms"]
    frame = records_frame({"run": record})
    assert frame["total_ms_sparse"].item() == record.latency["sparse"]["total"]["median_ms"]
    assert read_record(tmp_path / "run" / "record.json") == record


def test_anchors_that_are_a_word_are_refused(finished, tmp_path):
    with pytest.raises(InputError, match=r"model\.anchors: expected auto or \[\[width,height\],\.\.\.\] .* got own"):
        run(tmp_path, "model.anchors=own")


def test_networks_are_timed_in_one_form(finished):
    run = FinishedRun(finished / "run")
    dense, pruned = (run.network(name) for name in ("dense", "pruned"))
    made = comparable(dense, pruned)
    assert list(made) == ["dense", "pruned", "compact"]
    assert {type(network) for network in made.values()} == {GraphDetector}
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = {name: network.eval()(images) for name, network in made.items()}
        wanted = pruned.eval()(images)
    for level, raw in enumerate(wanted):
        assert torch.allclose(answers["pruned"][level], raw, atol=1e-4)
        assert torch.allclose(answers["compact"][level], raw, atol=1e-4)
    assert not all(torch.allclose(raw, wanted[level], atol=1e-2) for level, raw in enumerate(answers["dense"]))
    assert isinstance(dense, YOLOv3Tiny), "as it was"


def test_pictures_of_some_test_images_lie_beside_the_scores(finished):
    ids = json.loads((finished / "run" / "images.json").read_text())["test"]
    chosen = [ids[0], ids[2], ids[3], ids[5]]  # four of six, evenly
    for network in ("dense", "pruned"):
        folder = finished / "run" / network / "samples"
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            f"{key}_{seen}.jpg" for key in chosen for seen in ("clean", "attacked")
        )
        for key in chosen:
            clean, attacked = (
                np.asarray(Image.open(folder / f"{key}_{seen}.jpg"), dtype=float) for seen in ("clean", "attacked")
            )
            assert clean.shape == attacked.shape == (320, 320, 3)
            assert 2 < np.abs(clean - attacked).mean() < 40
