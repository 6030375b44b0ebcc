"""How much AP depends on which images happen to be in the test set: AP of resampled sets (bootstrap over images).

Resample k is the same choice of images for every network that was tested on them, so the differences between two
networks, resample by resample, say how sure the difference of their AP is.
"""

import numpy as np

from hydra_det.evaluation.matches import RECALLS, ClassMatches, Floats, Integers, Matches, by_confidence

SEED = 0  # of the choice of images


def resampled_precision(matches: Matches, *, images: int, count: int) -> list[float]:
    """AP of test sets drawn from the images, each of as many images as there are, with replacement.

    A class without an object in a resample does not count there; a resample without any object is 0.

    Args:
        matches: of all images.
        images: how many there are.
        count: of the resamples.

    Returns:
        AP@[.5:.95] of each. [count]
    """
    drawn = np.random.default_rng(SEED).multinomial(images, np.full(images, 1 / images), size=count)  # [R, I]
    values = np.full((len(matches), count), np.nan)
    for row, found in enumerate(map(by_confidence, matches.values())):
        values[row] = [_precision(found, times) for times in drawn]
    means: Floats = np.nansum(values, axis=0) / np.maximum(1, (~np.isnan(values)).sum(axis=0))
    return [round(float(value), 6) for value in means]


def _precision(matches: ClassMatches, times: Integers) -> float:
    """AP of a class, mean over thresholds, where image i comes `times[i]` times; its detections are sorted.

    Copies of a detection are neighbours, but for the rare ones with exactly the confidence of another one, and
    precision within a run of right ones peaks at its end: one weighted step stands for all of them.
    """
    objects = int((matches.objects * times).sum())
    if not objects:
        return float("nan")
    weight = times[matches.image]
    right = np.cumsum(matches.right * (matches.counted * weight), axis=1)
    wrong = np.cumsum(~matches.right * (matches.counted * weight), axis=1)
    precision = right / np.maximum(1, right + wrong)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return float(
        np.mean(
            [
                np.append(best, 0.0)[np.searchsorted(hits / objects, RECALLS, side="left")].mean()
                for hits, best in zip(right, envelope, strict=True)
            ]
        )
    )
