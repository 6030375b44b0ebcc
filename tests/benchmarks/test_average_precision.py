"""The made-up detections hit some objects and miss others, and every way to compute AP gets the same ones."""

import copy
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.average_precision import HITS, OBJECTS, figures, made_up
from hydra_det.evaluation.coco_map import average_precision


def test_hydra_det_finds_the_figures_of_pycocotools() -> None:
    truth, results = made_up(6, 3, 10)
    found = figures(COCO, COCOeval, truth, results)
    ours = average_precision(truth, results)
    assert 0.1 < found[1] < 0.9  # of AP50, neither nothing nor all
    assert [ours["map"], ours["map_50"]] == pytest.approx(found[:2])


def test_sizes_are_as_asked_and_some_objects_are_hit() -> None:
    truth, results = made_up(6, 3, 10)
    assert (len(truth["images"]), len(truth["categories"]), len(results)) == (6, 3, 60)
    near = 0
    for annotation in truth["annotations"]:
        distances = [
            np.abs(np.subtract(result["bbox"], annotation["bbox"])).max() / max(annotation["bbox"][2:])
            for result in results
            if result["image_id"] == annotation["image_id"] and result["category_id"] == annotation["category_id"]
        ]
        near += min(distances, default=9.0) <= 0.1
    assert near >= 6 * round(HITS * OBJECTS)


def test_the_arguments_stay_as_they_are() -> None:
    truth, results = made_up(2, 3, 5)
    before = json.dumps([truth, results])
    figures(COCO, COCOeval, truth, copy.copy(results))
    assert json.dumps([truth, results]) == before
