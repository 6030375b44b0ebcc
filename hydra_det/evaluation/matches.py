"""Detections matched to objects, as arrays: AP of any choice of images without matching them again.

pycocotools matches (`coco_map.matched`); what is done here with its matches is its `accumulate`, for all sizes of
objects and at most 100 detections an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hydra_det.evaluation.coco_map import CocoResult, matched

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RECALLS: Floats = np.linspace(0, 1, 101)
ALL_SIZES = 0  # pycocotools' first area range


class ClassMatches(NamedTuple):
    """The detections of one class in all images, at T thresholds of overlap.

    Attributes:
        image: [D] place of the image in the ground truth.
        confidence: [D]
        right: [T, D] whether it is the one that finds an object.
        counted: [T, D] whether it counts at all; one of a crowd region does not.
        objects: [I] objects of this class in every image.
    """

    image: Integers
    confidence: Floats
    right: Booleans
    counted: Booleans
    objects: Integers

    def where(self, chosen: Booleans) -> "ClassMatches":
        """The detections of some images, [I] bool, beside the objects of all."""
        kept = chosen[self.image]
        return ClassMatches(
            self.image[kept], self.confidence[kept], self.right[:, kept], self.counted[:, kept], self.objects
        )


Matches = dict[int, ClassMatches]  # by category id, of the classes that have objects


def find_matches(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> Matches:
    """Match detections to objects. Arguments and errors are those of `coco_map.average_precision`."""
    evaluation = matched(ground_truth, results)
    places = {image["id"]: place for place, image in enumerate(ground_truth["images"])}
    parts: dict[int, list[dict[str, Any]]] = {}
    for entry in evaluation.evalImgs:
        if entry is not None and entry["aRng"] == evaluation.params.areaRng[ALL_SIZES]:
            parts.setdefault(entry["category_id"], []).append(entry)
    answer = {}
    for category, entries in parts.items():
        objects = np.zeros(len(places), dtype=np.int64)
        for entry in entries:
            objects[places[entry["image_id"]]] += int((np.asarray(entry["gtIgnore"]) == 0).sum())
        if objects.any():
            image = [np.full(len(entry["dtScores"]), places[entry["image_id"]]) for entry in entries]
            ignored = np.concatenate([entry["dtIgnore"] for entry in entries], axis=1).astype(bool)
            answer[category] = ClassMatches(
                np.concatenate(image).astype(np.int64),
                np.concatenate([np.asarray(entry["dtScores"], dtype=np.float64) for entry in entries]),
                np.concatenate([entry["dtMatches"] for entry in entries], axis=1) > 0,
                ~ignored,
                objects,
            )
    return answer


def joined(parts: Sequence[ClassMatches]) -> ClassMatches:
    """The detections of several parts, which are of different images."""
    return ClassMatches(
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.right for part in parts], axis=1),
        np.concatenate([part.counted for part in parts], axis=1),
        parts[0].objects,
    )


def by_confidence(matches: ClassMatches) -> ClassMatches:
    """The most certain detections first; equal ones in the order of their images."""
    order = np.lexsort((matches.image, -matches.confidence))
    return matches._replace(
        image=matches.image[order],
        confidence=matches.confidence[order],
        right=matches.right[:, order],
        counted=matches.counted[:, order],
    )


def precision_of(matches: ClassMatches) -> Floats:
    """AP of a class at every threshold, by COCO's 101 points of recall. [T]"""
    matches = by_confidence(matches)
    right = np.cumsum(matches.right & matches.counted, axis=1, dtype=np.float64)
    wrong = np.cumsum(~matches.right & matches.counted, axis=1, dtype=np.float64)
    answer = np.zeros(len(right))
    for place, (hits, misses) in enumerate(zip(right, wrong, strict=True)):
        precision = hits / (hits + misses + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(hits / matches.objects.sum(), RECALLS, side="left")
        answer[place] = np.append(envelope, 0.0)[reached].mean()
    return answer


def mean_precision(matches: Matches) -> float:
    """AP, the mean over classes with objects and thresholds; 0 where there is no object."""
    return float(np.mean([precision_of(found).mean() for found in matches.values()])) if matches else 0.0
