"""AP of resampled test sets, against pycocotools on sets with real copies of their images."""

import numpy as np
import pytest

from hydra_det.evaluation.bootstrap import SEED, resampled_precision
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.evaluation.matches import find_matches
from tests.evaluation.test_robustness import many


def copied(truth, results, times):
    """The ground truth and the detections with every image as often as drawn, each copy with an id of its own."""
    images, annotations, detections = [], [], []
    for place, (image, count) in enumerate(zip(truth["images"], times, strict=True)):
        for copy in range(count):
            key = 1000 * place + copy
            images.append(image | {"id": key})
            annotations += [a | {"image_id": key} for a in truth["annotations"] if a["image_id"] == image["id"]]
            detections += [r | {"image_id": key} for r in results if r["image_id"] == image["id"]]
    return truth | {"images": images, "annotations": annotations}, detections


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_on_copied_images(seed):
    truth, attacks = many(seed)
    results = [r | {"score": r["score"] + place * 1e-9} for place, r in enumerate(attacks["b"])]  # no two equal ones
    images = len(truth["images"])
    drawn = np.random.default_rng(SEED).multinomial(images, np.full(images, 1 / images), size=5)
    found = resampled_precision(find_matches(truth, results), images=images, count=5)
    wanted = [average_precision(*copied(truth, results, times))["map"] for times in drawn]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(set(found)) > 1


def test_a_class_that_is_not_drawn_does_not_count():
    truth, _ = many(0, images=2, classes=2)
    truth["annotations"] = [a | {"category_id": 5 * (a["image_id"] - 99)} for a in truth["annotations"]]
    perfect = [a | {"score": 0.9} for a in truth["annotations"]]
    assert resampled_precision(find_matches(truth, perfect), images=2, count=20) == [1.0] * 20


def test_networks_see_the_same_resamples_and_nothing_found_is_zero():
    truth, attacks = many(1)
    better = resampled_precision(find_matches(truth, attacks["a"]), images=12, count=50)
    assert better == resampled_precision(find_matches(truth, list(attacks["a"])), images=12, count=50)
    assert resampled_precision(find_matches(truth, []), images=12, count=2) == [0.0, 0.0]
