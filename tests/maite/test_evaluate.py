"""`maite.tasks.evaluate` with our parts gives the AP of our own evaluation, and the parts keep the protocols."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import maite.protocols
import maite.protocols.object_detection as od
import maite.tasks
import pytest

import hydra_det
from hydra_det.finished.predict import Predictor
from hydra_det.maite import MaiteAugmentation, MaiteDataset, MaiteMetric, MaiteModel
from tests.maite.example import SIZE, Blobs, blobs_data

ROOT = Path(__file__).parents[2]


def blobs_model(data: hydra_det.DetectionData) -> MaiteModel:
    return MaiteModel(Predictor(Blobs(), class_names=data.class_names, image_size=SIZE, confidence=0.0))


def by_maite(model: MaiteModel, dataset: MaiteDataset, attack: Any = None, batch_size: int = 4) -> dict[str, Any]:
    augmentation = None if attack is None else MaiteAugmentation(model, attack)
    metric = MaiteMetric(dataset.metadata["index2label"])
    scores, _, _ = maite.tasks.evaluate(
        model=model, dataset=dataset, metric=metric, augmentation=augmentation, batch_size=batch_size
    )
    return dict(scores)


def assert_same(found: dict[str, Any], wanted: Any, *, within: float = 1e-6) -> None:
    wanted = dict(wanted)
    assert found.pop("map_per_class") == pytest.approx(wanted.pop("map_per_class"), abs=within)
    assert found == pytest.approx(wanted, abs=within)


def test_ap_clean_and_attacked_is_that_of_our_evaluation(tmp_path: Path) -> None:
    data, attack = blobs_data(tmp_path), hydra_det.FGSM(epsilon=0.15)
    wanted = hydra_det.evaluate(Blobs(), data, attack)
    assert wanted["attacked"] is not None
    clean, attacked = wanted["clean"]["coco"], wanted["attacked"]["coco"]
    assert 0.1 < clean["map"] < 0.9, "else there is nothing to compare"  # type: ignore[operator]
    assert 0.02 < attacked["map"] < clean["map"] - 0.05  # type: ignore[operator]
    assert None not in (clean["map_small"], clean["map_medium"])
    model, dataset = blobs_model(data), MaiteDataset(data)
    assert_same(by_maite(model, dataset), clean)
    assert_same(by_maite(model, dataset, attack), attacked)


def test_ap_on_pictures_is_the_same(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    wanted = hydra_det.evaluate(Blobs(), data)["clean"]["coco"]
    assert_same(by_maite(blobs_model(data), MaiteDataset(data, pictures=True)), wanted)


def test_an_attack_on_pictures_costs_ap_too(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    model, pictures = blobs_model(data), MaiteDataset(data, pictures=True)
    assert by_maite(model, pictures, hydra_det.FGSM(epsilon=0.15))["map"] < by_maite(model, pictures)["map"] - 0.05


def test_ap_of_a_run_is_that_of_its_record(finished: Path) -> None:
    run = hydra_det.load_run(finished / "run")
    attack = hydra_det.PGD(epsilon=0.05, step_size=0.02, steps=2)
    model, dataset = MaiteModel.from_run(run), MaiteDataset(run.data)
    wanted = run.record.metrics["pruned"]
    assert wanted["attacked"] is not None
    size = run.data.evaluation_batch_size
    # Rounding of another process may swap boxes that are nearly as certain.
    assert_same(by_maite(model, dataset, batch_size=size), wanted["clean"]["coco"], within=1e-4)
    assert_same(by_maite(model, dataset, attack, batch_size=size), wanted["attacked"]["coco"], within=1e-4)
    assert model.metadata == {"id": "run/pruned", "index2label": dict(enumerate(run.class_names))}
    assert dataset.metadata["index2label"] == model.metadata["index2label"]


def test_the_parts_keep_the_protocols(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    ours = blobs_model(data)
    model: od.Model = ours
    dataset: od.Dataset = MaiteDataset(data)
    metric: od.Metric = MaiteMetric({0: "red"})
    augmentation: od.Augmentation = MaiteAugmentation(ours, hydra_det.FGSM())
    assert isinstance(model, maite.protocols.Model)
    assert isinstance(dataset, maite.protocols.Dataset)
    assert isinstance(metric, maite.protocols.Metric)
    assert isinstance(augmentation, maite.protocols.Augmentation)
    for part in (model, dataset, metric, augmentation):
        assert isinstance(part.metadata["id"], str)
    image, target, metadata = dataset[0]
    for one in (target, model([image])[0]):
        assert isinstance(one, od.ObjectDetectionTarget.__origin__)  # type: ignore[attr-defined]
    assert metadata["id"] == data.splits["test"].records[0].image_id


def test_without_the_package_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['maite'] = None; import hydra_det.maite"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "hydra_det.errors.InputError: hydra_det.maite: expected the package maite, which is not installed; "
        "install hydra-det[maite]"
    )
