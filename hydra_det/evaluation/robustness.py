"""The worst case over several attacks, image by image.

AP is no mean over images, so which attack is the worst for an image needs a rule. Here it is the attack under which the
AP of that image alone is lowest. The robust AP is that of the images put together so, or of a single attack on all
images where that is lower: the rule is a guess, and an attacker may choose.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_det.evaluation.coco_map import CocoResult, average_precision

Scores = dict[int, float]  # image id -> how well it is answered, the higher the better


def image_scores(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> Scores:
    """AP@[.5:.95] of every image alone; of an image without objects minus the highest confidence in it.

    Args:
        ground_truth: as in `average_precision`.
        results: detections of any of the images.
    """
    truth, found = _by_image(ground_truth["annotations"]), _by_image(results)
    scores = {}
    for image in ground_truth["images"]:
        key = image["id"]
        alone = {**ground_truth, "images": [image], "annotations": truth[key]}
        value = average_precision(alone, found[key])["map"] if truth[key] else None
        scores[key] = -max((result["score"] for result in found[key]), default=0.0) if value is None else value
    return scores


def worst_attacks(scores: Mapping[str, Scores]) -> dict[int, str]:
    """The attack under which each image scores lowest; of equal ones the first in the order of `scores`."""
    first = next(iter(scores.values()))
    return {image: min(scores, key=lambda attack: scores[attack][image]) for image in first}


def put_together(results: Mapping[str, Sequence[CocoResult]], chosen: Mapping[int, str]) -> list[CocoResult]:
    """The detections of every image under the attack that was chosen for it, sorted by image."""
    by_attack = {attack: _by_image(found) for attack, found in results.items()}
    return [result for image in sorted(chosen) for result in by_attack[chosen[image]][image]]


def _by_image(entries: Sequence[Any]) -> dict[int, list[Any]]:
    answer: dict[int, list[Any]] = defaultdict(list)
    for entry in entries:
        answer[entry["image_id"]].append(entry)
    return answer
