"""Average precision as COCO defines it, computed by pycocotools, under both evaluation protocols.

Where faster-coco-eval is installed (the extra `coco`), it computes the same figures in a tenth of the time.

All images of the ground truth count, also those without objects. Boxes are floats and confidences are not rounded, both
in coordinates and category ids of the original data set.
"""

import contextlib
import importlib.util
import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert

from hydra_det.records.record import PROTOCOLS, AveragePrecision, Protocols
from hydra_det.types import Detections, InputError

FASTER = "faster_coco_eval"
# Places in `COCOeval.stats`, the order in which pycocotools prints its summary.
_STATS = {"map": 0, "map_50": 1, "map_75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "mar_100": 8}


class CocoResult(TypedDict):
    """One detection in COCO's result format."""

    image_id: int
    category_id: int
    bbox: list[float]  # [x, y, width, height] in pixels of the original image
    score: float  # COCO's word for the confidence


def coco_results(image_id: int, detections: Detections, category_ids: Sequence[int]) -> list[CocoResult]:
    """The detections of one image in COCO's format.

    Args:
        image_id: The data set's own id.
        detections: Boxes `xyxy` in pixels of the *original* image (`Letterbox.to_original`), labels in [0, C).
        category_ids: The data set's category id of each label. [C]
    """
    boxes = box_convert(detections.boxes.double(), "xyxy", "xywh")  # [K, 4], exact differences of float32 corners
    rows = zip(boxes.tolist(), detections.confidences.tolist(), detections.labels.tolist(), strict=True)
    return [
        CocoResult(image_id=image_id, category_id=category_ids[label], bbox=box, score=confidence)
        for box, confidence, label in rows
    ]


def evaluate_protocols(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> Protocols:
    """Average precision of the same detections under both protocols.

    Greedy NMS within a class lets a box be removed only by a more confident one, and the cut to the first 100 of an
    image is by confidence too. So both commute with a confidence floor: the `paper` detections are the `coco` ones of
    confidence >= 0.5, and no second pass over the images is needed.

    Args:
        ground_truth: As in `average_precision`.
        results: Detections after NMS, found with a floor of at most 0.001.
    """
    coco, paper = (
        average_precision(ground_truth, [result for result in results if result["score"] >= floor])
        for floor in (PROTOCOLS["coco"], PROTOCOLS["paper"])
    )
    return Protocols(coco=coco, paper=paper)


def average_precision(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> AveragePrecision:
    """COCO's average precision and recall; neither argument is changed.

    Args:
        ground_truth: COCO's instances format: `images`, `annotations`, `categories`. An annotation without `area` gets
            that of its box, one without `iscrowd` is no crowd.
        results: Detections of any of the images; may be empty.

    Raises:
        InputError: A result names an image or a category that the ground truth does not hold, or is not finite.
    """
    evaluation = _matched(ground_truth, results, *evaluators()[-1])
    with contextlib.redirect_stdout(io.StringIO()):  # it reports by printing
        evaluation.accumulate()
        evaluation.summarize()
    summary = {key: _or_none(evaluation.stats[place]) for key, place in _STATS.items()}
    return AveragePrecision(
        **summary,  # type: ignore[typeddict-item]  # the keys of _STATS are those of the type
        map_per_class=_per_class(evaluation, ground_truth["categories"]),
        detections_per_image=len(results) / max(1, len(ground_truth["images"])),
    )


def only_images(ground_truth: Mapping[str, Any], image_ids: Collection[int]) -> dict[str, Any]:
    """The ground truth of some of the images."""
    images = [image for image in ground_truth["images"] if image["id"] in image_ids]
    annotations = [entry for entry in ground_truth["annotations"] if entry["image_id"] in image_ids]
    return {**ground_truth, "images": images, "annotations": annotations}


def matched(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> COCOeval:
    """Detections matched to objects, image by image, at all thresholds: what all figures are made from.

    Args and errors are those of `average_precision`.
    """
    return _matched(ground_truth, results, COCO, COCOeval)


def evaluators() -> list[tuple[Any, Any]]:
    """The classes that hold annotations and evaluate them: pycocotools', then faster-coco-eval's where it is there."""
    found: list[tuple[Any, Any]] = [(COCO, COCOeval)]
    if importlib.util.find_spec(FASTER):
        faster = importlib.import_module(FASTER)
        found.append((faster.COCO, faster.COCOeval_faster))
    return found


def _matched(ground_truth: Mapping[str, Any], results: Sequence[CocoResult], index: Any, evaluate: Any) -> Any:
    _check_results(ground_truth, results)
    truth = _index(
        index,
        ground_truth,
        [
            _entry(annotation, annotation.get("area"), annotation.get("iscrowd", 0))
            for annotation in ground_truth["annotations"]
        ],
    )
    found = _index(index, ground_truth, [_entry(result, None, 0) | {"score": result["score"]} for result in results])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluate(truth, found, "bbox")
        evaluation.evaluate()
    return evaluation


def _check_results(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> None:
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    for index, result in enumerate(results):
        if result["image_id"] not in images:
            raise InputError(
                f"result {index}: image_id {result['image_id']!r} is not among the {len(images)} images of the ground "
                "truth; are these detections of another split?"
            )
        # pycocotools would leave such a detection out without a word.
        if result["category_id"] not in categories:
            raise InputError(
                f"result {index}: category_id {result['category_id']!r} is not among the {len(categories)} categories "
                "of the ground truth; labels must be mapped to the data set's own ids"
            )
        if not all(map(math.isfinite, (*result["bbox"], result["score"]))):
            raise InputError(
                f"result {index}: expected finite numbers, got bbox {result['bbox']} and score {result['score']}; "
                "did the training diverge?"
            )


def _entry(annotation: Mapping[str, Any], area: float | None, iscrowd: int) -> dict[str, Any]:
    """A copy with what box evaluation reads, as pycocotools writes into the dictionaries that it gets."""
    _, _, width, height = annotation["bbox"]
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": annotation["bbox"],
        "area": width * height if area is None else area,
        "iscrowd": int(iscrowd),
    }


def _index(index: Any, ground_truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> Any:
    """A COCO object over the given annotations and all images, without `loadRes`, which fails on no results."""
    # Numbered from 1 whatever their own ids: pycocotools takes a match with id 0 for no match at all.
    numbered = [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)]
    coco = index()
    coco.dataset = {
        "images": list(ground_truth["images"]),
        "categories": list(ground_truth["categories"]),
        "annotations": numbered,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _per_class(evaluation: Any, categories: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """AP@[.5:.95] by category name, for objects of all areas and at most 100 detections."""
    names = {category["id"]: category["name"] for category in categories}
    precision = evaluation.eval["precision"][..., 0, -1]  # [T thresholds, R recalls, K categories]
    per_class = precision.mean(axis=(0, 1))  # [K]; -1 throughout where the category has no objects
    return {names[key]: _or_none(value) for key, value in zip(evaluation.params.catIds, per_class, strict=True)}


def _or_none(value: np.floating | float) -> float | None:
    """Pycocotools' -1, no such objects, as None."""
    return None if value < 0 else float(value)
