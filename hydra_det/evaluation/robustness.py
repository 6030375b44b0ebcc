"""The worst case over several attacks, image by image.

AP is no mean over images: what a detection is worth depends on what is found in all the others. So the worst case is
searched for. It begins with the attack that leaves the lowest AP on all images together. Then every image takes the
attack under which its detections contribute least to AP, given what is found in the other images, to first order; if
that lowers AP it is kept, and the contributions are computed anew. At last single images try their next best attacks,
by AP itself. So the worst case is never above a single attack.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hydra_det.evaluation.coco_map import CocoResult
from hydra_det.evaluation.matches import (
    Booleans,
    ClassMatches,
    Floats,
    Integers,
    Matches,
    by_confidence,
    find_matches,
    joined,
    mean_precision,
)

ROUNDS = 20
FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.03)  # of the images that gain most, tried in turn
# At last: among how many attacks an image chooses, and how many detections are looked at in all; they take the time.
NEXT_BEST, LOOKS = 4, 10**8


class WorstCase(NamedTuple):
    """What an attacker chooses for every image.

    Attributes:
        chosen: image id -> attack.
        contributions: attack -> image id -> what its detections contribute to AP, beside those of the other images as
            they were chosen; AP is about their sum.
    """

    chosen: dict[int, str]
    contributions: dict[str, dict[int, float]]


def worst_case(ground_truth: Mapping[str, Any], results: Mapping[str, Sequence[CocoResult]]) -> WorstCase:
    """Search for the attack of every image that together leave the lowest AP.

    Args:
        ground_truth: as in `coco_map.average_precision`.
        results: the detections in all images under every attack; of equal ones the first is chosen.
    """
    names, images = list(results), [image["id"] for image in ground_truth["images"]]
    found = [find_matches(ground_truth, results[name]) for name in names]
    lowest = [mean_precision(matches) for matches in found]
    best = min(lowest)
    choice: Integers = np.full(len(images), lowest.index(best), dtype=np.int64)
    worth = _contributions(found, choice)
    for _ in range(ROUNDS):
        better = _improved(found, choice, worth, best)
        if better is None:
            break
        choice, best = better
        worth = _contributions(found, choice)
    choice = _image_by_image(found, choice, worth, best)
    worth = _contributions(found, choice)
    return WorstCase(
        {image: names[place] for image, place in zip(images, choice.tolist(), strict=True)},
        {name: dict(zip(images, row.tolist(), strict=True)) for name, row in zip(names, worth, strict=True)},
    )


def put_together(results: Mapping[str, Sequence[CocoResult]], chosen: Mapping[int, str]) -> list[CocoResult]:
    """The detections of every image under the attack that was chosen for it, sorted by image."""
    by_attack = {attack: _by_image(results[attack]) for attack in set(chosen.values())}
    return [result for image in sorted(chosen) for result in by_attack[chosen[image]][image]]


def _improved(found: Sequence[Matches], choice: Integers, worth: Floats, best: float) -> tuple[Integers, float] | None:
    """Another choice with a lower AP, where one is found. `worth` is [attacks, I]"""
    everyone = np.arange(len(choice))
    least = worth.argmin(axis=0)
    gain = worth[choice, everyone] - worth[least, everyone]
    order = np.argsort(-gain, kind="stable")
    order = order[gain[order] > 0]
    for fraction in FRACTIONS:
        some = order[: int(np.ceil(fraction * len(order)))]
        if len(some):
            tried = choice.copy()
            tried[some] = least[some]
            reached = mean_precision(_pool(found, tried))
            if reached < best:
                return tried, reached
    return None


def _image_by_image(found: Sequence[Matches], choice: Integers, worth: Floats, best: float) -> Integers:
    """A choice that none of the `NEXT_BEST` attacks of any image would better, as far as `LOOKS` go.

    The images begin for which another attack promises most.
    """
    detections = sum(len(one.confidence) for matches in found for one in matches.values())
    tries, since, images = LOOKS // max(1, detections), 0, len(choice)
    while since < images and tries > 0:  # until all images in a row keep theirs
        gain = worth[choice, np.arange(images)] - worth.min(axis=0)
        for image in np.argsort(-gain, kind="stable"):
            since += 1
            for place in worth[:, image].argsort(kind="stable")[:NEXT_BEST]:
                tried = choice.copy()
                tried[image] = place
                if place == choice[image] or tries == 0:
                    continue
                tries -= 1
                if (reached := mean_precision(_pool(found, tried))) < best:
                    choice, best, since = tried, reached, 0
        worth = _contributions(found, choice)
    return choice


def _pool(found: Sequence[Matches], choice: Integers) -> Matches:
    """The detections of every image under its attack."""
    return {
        category: joined([matches[category].where(choice == place) for place, matches in enumerate(found)])
        for category in found[0]
    }


def _contributions(found: Sequence[Matches], choice: Integers) -> Floats:
    """What the detections of an image under each attack add to AP, given those of all images as chosen. [attacks, I]"""
    answer = np.zeros((len(found), len(choice)))
    pool = _pool(found, choice)
    for category, chosen in pool.items():
        reference = by_confidence(chosen)
        for place, matches in enumerate(found):
            values = _worth(matches[category], reference)
            np.add.at(answer[place], matches[category].image, values)
    return answer / max(1, len(pool))


def _worth(matches: ClassMatches, reference: ClassMatches) -> Floats:
    """What each detection adds to the area under the curve of precision by recall, mean over thresholds. [D]

    A right one adds the precision at its confidence and raises that of all right ones that are less certain, a wrong
    one lowers it.
    """
    total, answer = reference.objects.sum(), np.zeros(len(matches.confidence))
    for right, counted, known_right, known_counted in zip(
        matches.right, matches.counted, reference.right, reference.counted, strict=True
    ):
        hit: Booleans = known_right[known_counted]  # [N], the most certain first
        confidence = reference.confidence[known_counted]
        rank = np.arange(1, len(hit) + 1)
        hits = np.cumsum(hit)
        precision = hits / rank
        # Sums over the right ones from a place on.
        raised, lowered = (
            np.append(np.cumsum((hit * change / (rank + 1))[::-1])[::-1], 0.0) for change in (1 - precision, precision)
        )
        above = np.searchsorted(-confidence, -matches.confidence, side="right")  # that are at least as certain
        own = (np.append(0, hits)[above] + 1) / (above + 1)
        answer += counted * np.where(right, own + raised[above], -lowered[above])
    return answer / total / len(matches.right)


def _by_image(results: Sequence[CocoResult]) -> dict[int, list[CocoResult]]:
    answer: dict[int, list[CocoResult]] = defaultdict(list)
    for result in results:
        answer[result["image_id"]].append(result)
    return answer
