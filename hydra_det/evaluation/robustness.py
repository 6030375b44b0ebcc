"""The worst case over several attacks, image by image.

AP is no mean over images, so which attack is the worst for an image needs a rule. Here an image is worth the confidence
of what is found in it minus that of what is not there, and its worst attack is the one that leaves least. The robust AP
is that of all images under their worst attack, or of a single attack where that is lower: the rule is a guess, and an
attacker may choose.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_det.evaluation.coco_map import CocoResult, matched

Scores = dict[int, float]  # image id -> how well it is answered, the higher the better

ALL_SIZES = 0  # pycocotools' first area range


def image_scores(ground_truth: Mapping[str, Any], results: Sequence[CocoResult]) -> Scores:
    """Confidences of right detections minus those of wrong ones, over the number of objects (at least 1).

    Detections of all classes count, matched as for AP and averaged over its ten thresholds of overlap. 1 is an image
    whose objects are all found with certainty and nothing else; there is no lower bound.

    Args:
        ground_truth: as in `average_precision`.
        results: detections of any of the images.
    """
    evaluation = matched(ground_truth, results)
    sizes = evaluation.params.areaRng
    worth: dict[int, float] = defaultdict(float)
    objects: dict[int, int] = defaultdict(int)
    for entry in evaluation.evalImgs:
        if entry is None or entry["aRng"] != sizes[ALL_SIZES]:
            continue
        image = entry["image_id"]
        objects[image] += int((entry["gtIgnore"] == 0).sum())
        counts = ~entry["dtIgnore"].astype(bool)  # [T, D]; not those of crowd regions
        sign = (entry["dtMatches"] > 0) * 2.0 - 1.0
        shares = (sign * counts).mean(axis=0)  # [D]
        worth[image] += float((shares * entry["dtScores"]).sum())
    return {image["id"]: worth[image["id"]] / max(1, objects[image["id"]]) for image in ground_truth["images"]}


def worst_attacks(scores: Mapping[str, Scores]) -> dict[int, str]:
    """The attack under which each image scores lowest; of equal ones the last in the order of `scores`."""
    names = list(scores)[::-1]
    return {image: min(names, key=lambda name: scores[name][image]) for image in scores[names[0]]}


def put_together(results: Mapping[str, Sequence[CocoResult]], chosen: Mapping[int, str]) -> list[CocoResult]:
    """The detections of every image under the attack that was chosen for it, sorted by image."""
    by_attack = {attack: _by_image(results[attack]) for attack in set(chosen.values())}
    return [result for image in sorted(chosen) for result in by_attack[chosen[image]][image]]


def _by_image(results: Sequence[CocoResult]) -> dict[int, list[CocoResult]]:
    answer: dict[int, list[CocoResult]] = defaultdict(list)
    for result in results:
        answer[result["image_id"]].append(result)
    return answer
