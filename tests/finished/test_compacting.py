"""compact.py on a finished run: files, AP, times and the record, and what is said when it cannot be done."""

import json
import os
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import torch

from compact import compact
from hydra_det.compaction import compact as compaction
from hydra_det.compaction.files import load_compact
from hydra_det.engines.registry import ENGINES
from hydra_det.finished.compacting.compacting import Compacting
from hydra_det.finished.compacting.costs import engine_latency
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import masks_of
from hydra_det.process.apart import Apart
from hydra_det.records.record import read_record
from hydra_det.types import InputError
from tests.pipeline.tiny import compose, run
from tests.process.test_command_line import script

pytestmark = pytest.mark.engine

QUICK = ["calibration_images=4", "latency.repeats=2", "latency.warmup=0", "latency.batch_sizes=[1,2]"]


def compacted(folder, *further):
    return compact(compose([f"run={folder}", *QUICK, *further], "compact"))


@pytest.fixture(scope="module")
def grouped(finished):
    """A run with masks of groups of filters, made small."""
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="grouped")
    compacted(finished / "grouped", "engines=[onnxruntime,openvino]")
    return finished / "grouped"


def test_the_record_holds_what_was_made(grouped):
    record = read_record(grouped / "record.json")
    found = record.compaction
    assert found is not None
    assert found["differences"]["float64"] <= 1e-9
    assert found["sizes"]["dense"] == found["sizes"]["masked"] | {"peak_bytes": found["sizes"]["dense"]["peak_bytes"]}
    weights = sum(layer["kept"] for layer in record.sparsity["layers"])
    assert weights < found["sizes"]["compact"]["parameters"] < 1.1 * weights
    assert [result["engine"] for result in found["engines"]] == ["torch", "onnxruntime", "openvino"]
    seen = {(e["network"], e["engine"], e["latency"]["batch_size"]) for e in found["latency"]}
    assert len(seen) == len(found["latency"]) == 3 * 3 * 2
    assert all(entry["latency"]["repeats"] == 2 for entry in found["latency"])


def test_every_engine_scores_like_the_masked_network(grouped):
    """Attacked too: the adversarial images are those of the torch network in every engine."""
    record: Any = read_record(grouped / "record.json")
    for result in record.compaction["engines"]:
        for condition in ("clean", "attacked"):
            wanted, got = record.metrics["pruned"][condition]["coco"], result["metrics"][condition]["coco"]
            assert got["map_50"] == pytest.approx(wanted["map_50"], abs=1e-3), (result["engine"], condition)
            assert got["detections_per_image"] == pytest.approx(wanted["detections_per_image"], rel=0.02)


def test_the_files_are_those_of_the_pruned_network(grouped):
    names = {path.name for path in (grouped / "compact").iterdir()}
    assert names == {
        "architecture.json", "weights.safetensors", "network.onnx", "network.xml", "network.bin", "speed.png",
        "detector.onnx", "detector.xml", "detector.bin",
    }  # fmt: skip
    assert not list(grouped.glob("*.partial"))
    net, about = load_compact(grouped / "compact")
    masked = FinishedRun(grouped).network("pruned").eval()
    assert about["image_size"] == 64
    assert about["classes"] == read_record(grouped / "record.json").dataset["classes"]
    assert sum(int(mask.sum()) for mask in masks_of(masked).values()) == sum(
        parameter.numel() for parameter in net.parameters() if parameter.ndim == 4
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for wanted, got in zip(masked(images), net(images), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_other_scripts_use_the_compact_network(grouped):
    finished = FinishedRun(grouped)
    scores, folder = finished.score("compact")
    assert scores["clean"]["coco"]["map_50"] == pytest.approx(
        read_record(grouped / "record.json").metrics["pruned"]["clean"]["coco"]["map_50"], abs=5e-3
    )
    assert folder != finished.score("pruned")[1]


def test_the_compact_network_of_another_run_is_refused(grouped):
    file = grouped / "compact" / "architecture.json"
    whole = file.read_text()
    file.write_text(whole.replace(FinishedRun(grouped).stage("pruned").key, "0123456789ab"))
    with pytest.raises(InputError, match=r"expected the compact network of this run, .* again"):
        FinishedRun(grouped).network("compact")
    file.write_text(whole)


def test_an_engine_that_answers_something_else_is_refused(finished, monkeypatch):
    def wrong(network, *_):
        return lambda images: [raw.detach() + 1 for raw in network(images)]

    monkeypatch.setitem(ENGINES, "torch_export", ENGINES["torch_export"]._replace(open=wrong))
    with pytest.raises(InputError, match=r"expected torch_export to give the raw maps of torch within 0\.001"):
        compacted(finished / "run", "engines=[torch_export]")
    assert not list((finished / "run").glob("compact*"))


def test_an_engine_that_crashes_is_left_out_and_the_others_go_on(finished, monkeypatch, caplog):
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="crashing")
    call = Apart.call

    def crashing(self, function, *args, **kwargs):
        if function is engine_latency and args[0] == "onnxruntime":
            return call(self, os._exit, 3)
        return call(self, function, *args, **kwargs)

    monkeypatch.setattr(Apart, "call", crashing)
    with pytest.raises(InputError, match=r"engines: expected all to live, onnxruntime ended with exit code 3; "):
        compacted(finished / "crashing", "engines=[onnxruntime,openvino]", "evaluate=false")
    assert "engine onnxruntime ended with exit code 3; it is left out, the others go on" in caplog.text
    found = read_record(finished / "crashing" / "record.json").compaction
    assert found is not None
    assert [result["engine"] for result in found["engines"]] == ["torch", "onnxruntime", "openvino"]
    assert {entry["engine"] for entry in found["latency"]} == {"torch", "openvino"}
    assert load_compact(finished / "crashing" / "compact")


@pytest.mark.parametrize("lost", ["score", "time"])
def test_what_was_made_is_there_when_scores_or_times_are_lost(finished, monkeypatch, lost):
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="untimed")

    def interrupted(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Compacting, lost, interrupted)
    with pytest.raises(KeyboardInterrupt):
        compacted(finished / "untimed", "engines=[]", "evaluate=false")
    found = read_record(finished / "untimed" / "record.json").compaction
    assert found is not None
    assert found["latency"] == []
    assert FinishedRun(finished / "untimed").network("compact")
    assert not list((finished / "untimed").glob("*.partial"))


def test_another_run_in_the_folder_leaves_no_old_network(finished):
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="twice")
    compacted(finished / "twice", "engines=[]", "evaluate=false")
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="twice")
    assert (finished / "twice" / "compact").is_dir(), "the same command finds its result, and what was made of it"
    run(finished, "prune=filter_group", "prune.ratio=0.5", name="twice")
    assert not (finished / "twice" / "compact").exists()


def test_an_older_record_is_one_line(finished):
    run(finished, "prune=filter_group", "prune.ratio=0.6", name="older")
    file = finished / "older" / "record.json"
    file.write_text(file.read_text().replace('"schema_version": 5', '"schema_version": 3'))
    with pytest.raises(InputError, match="schema_version: expected 5, got 3"):
        compacted(finished / "older")


def test_two_at_once_are_refused(finished):
    settings = compose([f"run={finished / 'run'}", *QUICK, "engines=[]"], "compact")
    with Compacting(settings):
        with pytest.raises(InputError, match=r"run: expected nobody else at work .*, found another compact\.py"):
            Compacting(settings)
        assert (finished / "run" / "compact.partial").is_dir(), "the first one goes on"
    with Compacting(settings):
        pass


def test_a_stage_that_was_deleted_is_named(finished):
    run(finished, "seed=3", "stage.finetune.epochs=1", name="deleted")
    stage = (finished / "deleted" / "stages" / "finetune" / "stage.json").resolve().parent
    assert stage.parent == (finished / "store").resolve()
    shutil.rmtree(stage)
    with pytest.raises(InputError, match=r"run: expected the stage finetune of .*deleted, found none; it was deleted"):
        FinishedRun(finished / "deleted").network("pruned")


def test_again_with_another_choice(grouped):
    before = read_record(grouped / "record.json")
    again = compacted(grouped, "multiple=8", "engines=[]", "evaluate=false")
    assert again.compaction is not None and before.compaction is not None  # noqa: PT018
    assert again.compaction["sizes"]["compact"]["parameters"] > before.compaction["sizes"]["compact"]["parameters"]
    assert again.compaction["engines"][0]["metrics"] is None
    assert again.metrics == before.metrics
    assert not (grouped / "compact" / "network.onnx").exists()


def test_a_network_that_is_not_equal_is_not_written(finished, monkeypatch):
    def wrong(dense, multiple):
        made = smaller(dense, multiple)
        with torch.no_grad():
            next(made.parameters()).add_(1)
        return made

    smaller = compaction._smaller
    monkeypatch.setattr(compaction, "_smaller", wrong)
    before = (finished / "run" / "record.json").read_bytes()
    with pytest.raises(InputError, match="the compact network is not written"):
        compacted(finished / "run")
    assert not list((finished / "run").glob("compact*"))
    assert (finished / "run" / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run=nowhere"], "run: expected the folder of a finished run, got nowhere, which does not exist"),
        (["run={run}", "engines=[tensorrt]"], "engines: expected some of torch, "),
        (["run={run}", "multiple=0"], "multiple: expected a whole number of at least 1, got 0"),
        (["run={run}", "latency.repeats=0"], "latency.repeats: expected a whole number of at least 1, got 0"),
        (["run={run}", "latency.confidence=0"], "latency.confidence: expected a number in [0.001, 1], got 0"),
        (["run={run}", "latency.batch_sizes=[]"], "latency.batch_sizes: expected a list, as in [1,8], got []"),
        (["run={run}", "latency.warmup=-1"], "latency.warmup: expected a whole number of at least 0, got -1"),
        (["run={run}", "engines=openvino"], "engines: expected a list, as in engines=[openvino], got openvino"),
        (["run={run}", "engines=null"], "engines: expected a list, as in engines=[openvino], got None"),
        (["run={run}", "latency.batch_sizes=[1,x]"], "latency.batch_sizes[1]: expected a whole number of at least 1"),
        ([], "run: expected a value, got none"),
    ],
)
def test_bad_input_is_one_line(finished, tmp_path, words, complaint):
    given = [word.format(run=finished / "run") for word in words]
    done = subprocess.run(
        script(*given, f"hydra.run.dir={tmp_path / 'out'}", name="compact"),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((finished / "run").glob("compact*"))
    assert json.loads((finished / "run" / "record.json").read_text())["compaction"] is None
