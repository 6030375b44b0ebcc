"""Detection files: what is read back is what was found."""

import csv
import json

import pytest
import torch

from hydra_det.evaluation.coco_map import coco_results
from hydra_det.evaluation.detection_files import write_detections_csv, write_results_json
from hydra_det.types import Detections

DETECTIONS = Detections(
    boxes=torch.tensor([[10.25, 20.5, 110.125, 60.0], [0.1, 0.2, 0.3, 0.4]]),
    confidences=torch.tensor([0.123456789, 0.001]),
    labels=torch.tensor([1, 0]),
)
RESULTS = coco_results(42, DETECTIONS, category_ids=[3, 90])
NAMES = {3: "car", 90: 'tooth"brush, red'}


def test_csv_reads_back(tmp_path):
    path = tmp_path / "found" / "detections.csv"
    write_detections_csv(path, RESULTS, category_names=NAMES)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image_id", "x_min", "y_min", "x_max", "y_max", "confidence", "label", "category_id"]
    assert [(row["image_id"], row["label"], row["category_id"]) for row in rows] == [
        ("42", 'tooth"brush, red', "90"),
        ("42", "car", "3"),
    ]
    for row, box, confidence in zip(rows, DETECTIONS.boxes, DETECTIONS.confidences, strict=True):
        corners = [float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max")]
        assert corners == pytest.approx(box.tolist(), abs=1e-12)
        assert float(row["confidence"]) == confidence.item()


def test_csv_of_nothing_has_its_heading(tmp_path):
    write_detections_csv(tmp_path / "empty.csv", [], category_names={})
    assert (tmp_path / "empty.csv").read_text() == "image_id,x_min,y_min,x_max,y_max,confidence,label,category_id\n"


def test_json_reads_back(tmp_path):
    write_results_json(tmp_path / "results.json", RESULTS)
    assert json.loads((tmp_path / "results.json").read_text()) == RESULTS


def test_failed_json_leaves_nothing(tmp_path):
    broken = [RESULTS[0] | {"score": float("nan")}]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results_json(tmp_path / "results.json", broken)
    assert list(tmp_path.iterdir()) == []
