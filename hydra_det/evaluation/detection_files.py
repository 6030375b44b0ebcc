"""Detections on disk: a CSV table for people and spreadsheets, COCO's results format for other tools.

Both are written whole or not at all.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_det.evaluation.coco_map import CocoResult
from hydra_det.files.atomic import write_atomically

COLUMNS = ("image_id", "x_min", "y_min", "x_max", "y_max", "confidence", "label", "category_id")


def write_detections_csv(path: str | Path, results: Sequence[CocoResult], *, category_names: Mapping[int, str]) -> None:
    """One line a detection: corners in pixels of the original image, confidence unrounded, category name and id."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        x, y, width, height = result["bbox"]
        category = result["category_id"]
        corners = (x, y, x + width, y + height)
        writer.writerow((result["image_id"], *corners, result["score"], category_names[category], category))
    write_atomically(path, text.getvalue())


def write_results_json(path: str | Path, results: Sequence[CocoResult]) -> None:
    """COCO's results format, as `COCO.loadRes` and the evaluation servers read it."""
    write_atomically(path, json.dumps(list(results), allow_nan=False) + "\n")
