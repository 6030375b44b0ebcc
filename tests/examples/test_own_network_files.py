"""Files of a small network of one's own class: they open for who trusts the class, and their exports without it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hydra_det
from compact import compact
from hydra_det.compaction.files import ARCHITECTURE, load_compact, save_compact
from hydra_det.finished.compacting.compacting import Compacting
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import make_dense
from tests.examples.own_network import TARGET
from tests.pipeline.tiny import compose

QUICK = ["calibration_images=4", "latency.repeats=2", "latency.warmup=0", "latency.batch_sizes=[1]"]


@pytest.fixture(scope="module")
def made(trained: Path, own_network: Any, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The run of the example, completed by compact.py."""
    folder = shutil.copytree(trained / "run", tmp_path_factory.mktemp("files") / "run")
    words = [f"run={folder}", f"trust=[{TARGET}]", *QUICK, "engines=[torch_export,onnxruntime]"]
    compact(compose(words, "compact"))
    return hydra_det.load_run(folder, trusted=[TARGET])


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_class_of_ones_own_is_made_by_who_trusts_it(own_network: Any, tmp_path: Path, images: Tensor) -> None:
    net = hydra_det.make_masked(own_network.MyDetector(2, width=8).eval())
    hydra_det.initial_scores(net, (), "magnitude")
    hydra_det.prune(net, 0.5, granularity="filter_group")
    small = hydra_det.compact(net).network
    save_compact(tmp_path, small, {})
    with pytest.raises(
        hydra_det.InputError, match=rf"^{tmp_path}/architecture\.json: .* open it .* trust=\[{TARGET}\]"
    ):
        load_compact(tmp_path)
    read, _ = load_compact(tmp_path, make=lambda: own_network.MyDetector(2, width=8))
    assert isinstance(read, own_network.MyDetector)
    assert sum(p.numel() for p in read.parameters()) < 0.6 * sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        for wanted, got in zip(small(images), read(images), strict=True):
            assert torch.equal(got, wanted)
    with pytest.raises(hydra_det.InputError, match="expected a whole description, got one that builds no network"):
        load_compact(tmp_path, make=lambda: own_network.MyDetector(2, width=4))


def test_a_file_beside_the_config_of_a_run_makes_nothing(
    trained: Path, own_network: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it says: the network is made by the config that was checked when the run was opened."""
    folder = shutil.copytree(trained / "run", tmp_path / "run")
    words = [f"run={folder}", f"trust=[{TARGET}]", *QUICK, "engines=[torch]", "export.output=detections"]
    with Compacting(compose(words, "compact")) as task:
        networks, _ = task.networks()
        task.export(networks["compact"])
        assert "detector.onnx" not in {path.name for path in task.partial.iterdir()}
        shutil.copytree(task.partial, folder / "compact")
    assert "expected export.output=decoded or raw for MyDetector, which has a suppression of its own" in caplog.text
    written = json.loads((folder / "compact" / ARCHITECTURE).read_text())
    assert written["class"] == TARGET
    written |= {"class": "os.system", "own": {"_target_": "${oc.create:{_target_:os.system}}"}}
    (folder / "compact" / ARCHITECTURE).write_text(json.dumps(written))
    assert isinstance(hydra_det.load_run(folder, trusted=[TARGET]).network("compact"), own_network.MyDetector)


@pytest.mark.engine
def test_every_engine_scores_like_the_masked_network(made: FinishedRun, own_network: Any, images: Tensor) -> None:
    found = made.record.compaction
    assert found is not None
    assert [result["engine"] for result in found["engines"]] == ["torch", "torch_export", "onnxruntime"]
    for result in found["engines"]:
        assert result["difference"] <= 1e-5
        assert result["metrics"] == made.record.metrics["pruned"], "the same boxes in every engine"
    assert {(entry["network"], entry["engine"]) for entry in found["latency"]} == {
        (network, result["engine"]) for network in ("dense", "masked", "compact") for result in found["engines"]
    }
    small: Any = made.network("compact")
    assert isinstance(small, own_network.MyDetector)
    with torch.no_grad():
        for wanted, got in zip(make_dense(made.network("pruned")).eval()(images), small(images), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.engine
def test_the_exported_file_needs_neither_the_class_nor_us(made: FinishedRun, images: Tensor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(made.folder / "compact" / "detector.onnx"))
    said = json.loads(session.get_modelmeta().custom_metadata_map["hydra_det"])
    assert said["classes"] == made.class_names
    assert "nms" not in said, "its suppression is its own"
    masked: Any = make_dense(made.network("pruned")).eval()
    with torch.no_grad():
        wanted = masked.decode(masked(images))
    for want, got in zip(wanted, session.run(None, {"images": images.numpy()}), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.engine
def test_pictures_are_seen_in_another_engine(made: FinishedRun) -> None:
    predict = hydra_det.Predictor.from_run(made, "compact", engine="onnxruntime", confidence=0.0)
    picture = made.data.splits["test"].records[0].path
    found, usual = (
        each(picture).clean.objects for each in (predict, hydra_det.Predictor.from_run(made, confidence=0.0))
    )
    assert len(found) == len(usual) > 10
    for (name, confidence, box), (wanted, certain, place) in zip(found[:10], usual[:10], strict=True):
        assert name == wanted
        assert confidence == pytest.approx(certain, abs=1e-4)
        assert box == pytest.approx(place, abs=0.1)
