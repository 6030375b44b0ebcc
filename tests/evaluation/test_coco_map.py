"""Average precision against plain pycocotools on files, torchmetrics, and numbers worked out by hand."""

import contextlib
import io
import json
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import batched_nms

from hydra_det.evaluation import coco_map
from hydra_det.evaluation.coco_map import average_precision, coco_results, evaluate_protocols
from hydra_det.records.record import PROTOCOLS
from hydra_det.types import Detections, InputError

CATEGORY_IDS = [2, 17, 90]  # gapped, as COCO's own
STATS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", None, None, "mar_100")


EVALUATORS = coco_map.evaluators()


@pytest.fixture(autouse=True, params=["pycocotools", "faster-coco-eval"])
def evaluator(request, monkeypatch):
    """Every figure of this file holds for both."""
    place = ["pycocotools", "faster-coco-eval"].index(request.param)
    if place >= len(EVALUATORS):
        pytest.skip("faster-coco-eval is not installed")
    monkeypatch.setattr(coco_map, "evaluators", lambda: EVALUATORS[: place + 1])
    return request.param


def random_scene(seed, *, images=12, crowd=True):
    """Ground truth with crowds, empty images and all three sizes, and noisy detections of it."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, count):
        return (torch.rand(count, generator=generator) * (high - low) + low).tolist()

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(0 if image % 4 == 0 else int(uniform(1, 7, 1)[0])):
            x, y = uniform(0, 300, 2)
            width, height = uniform(8, 200, 2)
            category = CATEGORY_IDS[int(uniform(0, 3, 1)[0])]
            is_crowd = int(crowd and uniform(0, 1, 1)[0] < 0.15)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + image,
                    "category_id": category,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": is_crowd,
                }
            )
            for _ in range(3):
                dx, dy, dw, dh = uniform(-0.15, 0.15, 4)
                box = [x + dx * width, y + dy * height, width * (1 + dw), height * (1 + dh)]
                score = uniform(0, 1, 1)[0]
                results.append({"image_id": 100 + image, "category_id": category, "bbox": box, "score": score})
        x, y, width, height = uniform(5, 120, 4)
        false_alarm = {"category_id": CATEGORY_IDS[image % 3], "bbox": [x, y, width, height]}
        results.append({"image_id": 100 + image, "score": uniform(0, 1, 1)[0]} | false_alarm)
    return truth(annotations, images=[100 + image for image in range(images)]), results


def truth(annotations, *, images):
    return {
        "images": [{"id": image, "width": 640, "height": 640} for image in images],
        "annotations": annotations,
        "categories": [{"id": key, "name": f"class {key}"} for key in CATEGORY_IDS],
    }


def annotation(number, *, image=1, category=2, bbox=(10.0, 10.0, 50.0, 50.0), **more):
    area = bbox[2] * bbox[3]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        "area": area,
        "iscrowd": 0,
    } | more


def result(score, *, image=1, category=2, bbox=(10.0, 10.0, 50.0, 50.0)):
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}


def as_results(ground_truth):
    """Perfect detections."""
    return [
        result(0.9, image=item["image_id"], category=item["category_id"], bbox=item["bbox"])
        for item in ground_truth["annotations"]
    ]


@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_pycocotools_on_the_files(tmp_path, seed):
    ground_truth, results = random_scene(seed)
    (tmp_path / "truth.json").write_text(json.dumps(ground_truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        plain = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "bbox")
        plain.evaluate()
        plain.accumulate()
        plain.summarize()
    ours: dict[str, Any] = {**average_precision(ground_truth, results)}
    for key, value in zip(STATS, plain.stats, strict=False):
        if key:
            # -1 is its word for: no such objects.
            assert ours[key] == (None if value == -1 else pytest.approx(value, abs=1e-6)), key
    for place, category in enumerate(CATEGORY_IDS):
        one_class = plain.eval["precision"][:, :, place, 0, 2].mean()
        assert ours["map_per_class"][f"class {category}"] == pytest.approx(one_class, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed):
    ground_truth, results = random_scene(seed, crowd=False)
    # Its own thresholds are rounded to float32, where a recall of exactly 0.6 misses the point 0.6: off by up to 1e-3.
    metric = MeanAveragePrecision(
        box_format="xywh",
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    for image in ground_truth["images"]:
        found = [item for item in results if item["image_id"] == image["id"]]
        there = [item for item in ground_truth["annotations"] if item["image_id"] == image["id"]]
        metric.update(
            [
                {
                    "boxes": torch.tensor([item["bbox"] for item in found]).reshape(-1, 4),
                    "scores": torch.tensor([item["score"] for item in found]),
                    "labels": torch.tensor([item["category_id"] for item in found], dtype=torch.int64),
                }
            ],
            [
                {
                    "boxes": torch.tensor([item["bbox"] for item in there]).reshape(-1, 4),
                    "labels": torch.tensor([item["category_id"] for item in there], dtype=torch.int64),
                }
            ],
        )
    theirs = metric.compute()
    ours: dict[str, Any] = {**average_precision(ground_truth, results)}
    for key in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100"):
        assert (-1 if ours[key] is None else ours[key]) == pytest.approx(theirs[key].item(), abs=1e-5), key


def test_perfect_detections_score_one_and_none_score_zero(capsys):
    ground_truth, _ = random_scene(0, crowd=False)
    perfect = average_precision(ground_truth, as_results(ground_truth))
    assert (perfect["map"], perfect["mar_100"]) == pytest.approx((1.0, 1.0))
    nothing = average_precision(ground_truth, [])
    assert (nothing["map"], nothing["map_50"], nothing["mar_100"]) == (0.0, 0.0, 0.0)
    assert nothing["detections_per_image"] == 0.0
    assert capsys.readouterr().out == ""


def test_annotation_ids_do_not_matter():
    # Plain pycocotools reads a match with the annotation of id 0 as no match.
    ground_truth = truth([annotation(0), annotation(0, image=2)], images=[1, 2])
    assert average_precision(ground_truth, as_results(ground_truth))["map"] == pytest.approx(1.0)


def test_by_hand():
    # Two objects of one class. In order of confidence: a hit, a false alarm, a hit. Precision is 1 up to recall 1/2,
    # then 2/3: of COCO's 101 recall points 0, 0.01, ... 0.5 are 51, the other 50 get 2/3. IoU is 1, so all ten
    # thresholds agree; both objects are of medium size (50 x 50), there are no others.
    far = (200.0, 200.0, 50.0, 50.0)
    ground_truth = truth([annotation(1), annotation(2, bbox=far)], images=[1, 2])
    results = [result(0.9), result(0.8, bbox=(400.0, 0.0, 50.0, 50.0)), result(0.7, bbox=far)]
    expected = (51 + 50 * 2 / 3) / 101
    scores = average_precision(ground_truth, results)
    assert (scores["map"], scores["map_50"], scores["map_medium"]) == pytest.approx((expected,) * 3)
    assert scores["map_small"] is scores["map_large"] is None
    assert scores["map_per_class"] == {"class 2": pytest.approx(expected), "class 17": None, "class 90": None}
    assert scores["detections_per_image"] == 3 / 2


def test_overlap_decides_the_threshold():
    # Half as wide again: IoU = 50 / 75 = 2/3, a hit at 0.50, 0.55, 0.60 and 0.65 of the ten thresholds.
    ground_truth = truth([annotation(1)], images=[1])
    scores = average_precision(ground_truth, [result(0.9, bbox=(10.0, 10.0, 75.0, 50.0))])
    assert (scores["map"], scores["map_50"], scores["map_75"]) == pytest.approx((0.4, 1.0, 0.0))


def test_images_without_objects_count():
    ground_truth = truth([annotation(1)], images=[1, 2])
    alarm = result(0.95, image=2)
    assert average_precision(ground_truth, [result(0.9)])["map"] == pytest.approx(1.0)
    assert average_precision(ground_truth, [result(0.9), alarm])["map"] == pytest.approx(0.5)


def test_no_objects_at_all_is_no_number():
    scores = average_precision(truth([], images=[1]), [result(0.9)])
    assert scores["map"] is None
    json.dumps(scores, allow_nan=False)


def test_area_and_crowd_flag_may_be_missing():
    whole = truth([annotation(1)], images=[1])
    short = deepcopy(whole)
    del short["annotations"][0]["area"], short["annotations"][0]["iscrowd"]
    assert average_precision(short, [result(0.9)]) == average_precision(whole, [result(0.9)])


def test_arguments_are_not_changed():
    ground_truth, results = random_scene(1)
    before = deepcopy((ground_truth, results))
    evaluate_protocols(ground_truth, results)
    assert (ground_truth, results) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (result(0.9, image=7), "result 1: image_id 7 is not among the 1 images"),
        (result(0.9, category=3), "result 1: category_id 3 is not among the 3 categories"),
        (result(float("nan")), "result 1: expected finite numbers"),
        (result(0.9, bbox=(0.0, 0.0, float("inf"), 1.0)), "result 1: expected finite numbers"),
    ],
)
def test_results_that_do_not_belong_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        average_precision(truth([annotation(1)], images=[1]), [result(0.5), wrong])


def test_results_keep_full_precision_and_category_ids():
    boxes = torch.tensor([[0.1, 0.2, 100.3, 50.4], [1.0, 2.0, 3.0, 5.0]])
    detections = Detections(boxes, torch.tensor([0.123456789, 0.001]), torch.tensor([2, 0]))
    first, second = coco_results(42, detections, CATEGORY_IDS)
    x1, y1, x2, y2 = boxes[0].tolist()
    assert first == {"image_id": 42, "category_id": 90, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": first["score"]}
    assert first["score"] == detections.confidences[0].item()
    assert second["bbox"] == [1.0, 2.0, 2.0, 3.0]
    # The least confidence of a protocol counts, also after rounding to float32.
    assert second["score"] >= PROTOCOLS["coco"]


def test_no_detections_give_no_results():
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert coco_results(1, empty, CATEGORY_IDS) == []


def test_protocols_are_confidence_floors():
    ground_truth, results = random_scene(2)
    results += [result(0.0005, image=100), result(0.5, image=100)]
    protocols: dict[str, Any] = {**evaluate_protocols(ground_truth, results)}
    for name, floor in (("coco", 0.001), ("paper", 0.5)):
        kept = [item for item in results if item["score"] >= floor]
        assert protocols[name] == average_precision(ground_truth, kept)
        assert protocols[name]["detections_per_image"] == len(kept) / len(ground_truth["images"])


@pytest.mark.parametrize("seed", range(5))
def test_nms_commutes_with_a_confidence_floor(seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(400, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 5 + torch.rand(400, 2, generator=generator) * 40], dim=1)
    confidences = torch.rand(400, generator=generator)
    labels = torch.randint(3, (400,), generator=generator)

    def first_hundred(chosen):
        return chosen[batched_nms(boxes[chosen], confidences[chosen], labels[chosen], 0.5)][:100]

    floor_last = first_hundred(torch.arange(400))
    floor_last = floor_last[confidences[floor_last] >= PROTOCOLS["paper"]]
    floor_first = first_hundred(torch.nonzero(confidences >= PROTOCOLS["paper"]).flatten())
    assert 0 < len(floor_first) < 200
    assert floor_last.tolist() == floor_first.tolist()


@pytest.mark.skipif(len(EVALUATORS) < 2, reason="faster-coco-eval is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_both_evaluators_find_the_same_where_confidences_are_equal_and_detections_many(seed, monkeypatch):
    ground_truth, results = random_scene(seed)
    rounded = [result | {"score": round(result["score"], 1)} for result in results]
    crowded = rounded + [result | {"image_id": 101} for result in rounded]  # more than 100 in one image
    found = []
    for one in EVALUATORS:
        monkeypatch.setattr(coco_map, "evaluators", lambda one=one: [one])
        found.append(average_precision(ground_truth, crowded))
    first, second = map(dict, found)
    assert 0 < first["map"] < 1  # type: ignore[operator]
    assert second.pop("map_per_class") == pytest.approx(first.pop("map_per_class"), abs=1e-9)
    assert second == pytest.approx(first, abs=1e-9)
