"""Batches that are ranked one after another, against the same images in one batch."""

from typing import Any

import numpy as np
import pytest
import torch

from hydra_det.attacks.objectives import ranking as module
from hydra_det.attacks.objectives.average_precision import lost_average_precision
from hydra_det.attacks.objectives.ranking import LOG_ODDS, Ranked, Ranking
from hydra_det.attacks.objectives.registry import OBJECTIVES, Reading
from tests.attacks.objectives.test_average_precision import OVERLAP, Scene


def parts(scene, images, raised):
    """The candidates and objects of some images of a scene, log-odds raised."""
    every = scene.candidates(torch.zeros(*scene.log_odds.shape, 4), raised)
    return type(every)(*(part[images] for part in every)), scene.targets[images]


def lost(scene, images, raised, ranking=None):
    candidates, targets = parts(scene, images, raised)
    return lost_average_precision(candidates, targets, overlap=OVERLAP, ranking=ranking)


def test_the_last_batch_is_ranked_among_all():
    scene = Scene()
    first, second, third = slice(0, 8), slice(8, 16), slice(16, 24)
    nothing = torch.zeros_like(scene.log_odds)
    ranking = Ranking()
    for images in (first, second):
        lost(scene, images, nothing, ranking)
        ranking.next_batch()
    together = lost(scene, slice(0, 24), nothing)[16:]
    torch.testing.assert_close(lost(scene, third, nothing, ranking), together)
    assert (lost(scene, third, nothing) - together).abs().max() > 0.001, "alone it is another ranking"


def test_a_batch_is_remembered_as_it_was_last_seen():
    scene = Scene()
    nothing, lower = torch.zeros_like(scene.log_odds), torch.full_like(scene.log_odds, -1.5)
    ranking, other = Ranking(), Ranking()
    for raised in (nothing, lower):
        lost(scene, slice(0, 12), raised, ranking)
    lost(scene, slice(0, 12), nothing, other)
    for one in (ranking, other):
        one.next_batch()
        one.next_batch()  # a batch that nobody asked about adds nothing
    moved = torch.cat([lower[:12], nothing[12:]])
    rest = slice(12, 24)
    torch.testing.assert_close(lost(scene, rest, nothing, ranking), lost(scene, slice(0, 24), moved)[12:])
    assert lost(scene, rest, nothing, ranking).sum() != pytest.approx(float(lost(scene, rest, nothing, other).sum()))


def mean_of_classes(confidences, right, labels, objects):
    """AP without interpolation: the mean over classes that have objects, precision at right ones over objects."""
    found = []
    for label in np.flatnonzero(objects):
        order = np.argsort(-confidences[labels == label])
        hits = right[labels == label][order]
        found.append((hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / objects[label])
    return np.mean(found)


def drawn(objects, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(objects), 40)
    right = rng.random(40) < 0.4
    return rng.random(40), right & (np.array(objects)[labels] > 0), labels, np.array(objects)


@pytest.mark.parametrize("objects", [[20, 5, 0], [9, 9, 9], [30]])
def test_a_worth_is_what_one_more_detection_changes(objects, monkeypatch):
    monkeypatch.setattr(module, "FEW", 1e-9)
    confidences, right, labels, counts = drawn(objects)
    every = [torch.tensor(part) for part in (confidences, right[:, None] * 1.0, labels)]
    tables: Any = None
    ranking = Ranking()
    for some in (slice(0, 15), slice(15, 40)):
        ranking.next_batch()
        share = torch.tensor(counts // 2 if some.start == 0 else counts - counts // 2)
        tables = ranking.worth(Ranked(every[0][some], every[1][some], every[2][some], share))
    grid = torch.linspace(*LOG_ODDS, dtype=torch.float64).sigmoid().numpy()
    before = mean_of_classes(confidences, right, labels, counts)
    for label in range(len(objects)):
        for place in range(0, len(grid), 7):
            for table, hit in ((tables.right, True), (tables.wrong, False)):
                after = mean_of_classes(
                    np.append(confidences, grid[place]), np.append(right, hit), np.append(labels, label), counts
                )
                change = float(table[label, place, 0]) * (1 if hit else -1)
                assert change == pytest.approx(after - before, abs=1e-6)


def right_worth(confidences, right, labels, objects):
    """Of a right detection of the first class. [K, T]"""
    ranked = Ranked(torch.tensor(confidences), torch.tensor(right[:, None] * 1.0), torch.tensor(labels), objects)
    return Ranking().worth(ranked).right[0]


def test_a_class_with_few_objects_leans_on_all():
    confidences, right, labels, _ = drawn([50, 50])
    nobody, of, one = np.zeros_like(labels), labels == 0, torch.tensor([1])
    every = right_worth(confidences, right, nobody, one)
    alone = right_worth(confidences[of], right[of], nobody[of], one)
    for count, share in ((50, 0.5), (150, 0.75), (10**7, 1.0)):
        found = right_worth(confidences, right, labels, torch.tensor([count, 50])) * count * 2  # of two classes
        torch.testing.assert_close(found, share * alone + (1 - share) * every, rtol=1e-4, atol=1e-4)


def test_objectives_of_both_kinds_share_a_ranking():
    scene, ranking = Scene(), Ranking()
    nothing = torch.zeros_like(scene.log_odds)
    for images in (slice(0, 12), slice(12, 24)):
        candidates, targets = parts(scene, images, nothing)
        options: dict[str, Any] = {"overlap": OVERLAP, "ranking": ranking}
        pooled = lost_average_precision(candidates, targets, pooled=True, **options)
        apart = lost_average_precision(candidates, targets, **options)
        ranking.next_batch()
    every = {pooled: lost_average_precision(*parts(scene, slice(0, 24), nothing), overlap=OVERLAP, pooled=pooled)
             for pooled in (True, False)}  # fmt: skip
    torch.testing.assert_close(pooled, every[True][12:])
    torch.testing.assert_close(apart, every[False][12:])


def test_what_is_no_number_is_worth_no_crash():
    scene = Scene()
    candidates, targets = parts(scene, slice(0, 4), torch.full_like(scene.log_odds, float("nan")))
    assert not lost_average_precision(candidates, targets, overlap=OVERLAP).any(), "none of it is a detection"


def test_pooled_is_as_if_all_were_of_one_class():
    scene = Scene()
    candidates, targets = parts(scene, slice(0, 24), torch.zeros_like(scene.log_odds))
    merged = candidates._replace(confidences=candidates.confidences.sum(2, keepdim=True))
    of_one: list[Any] = [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]
    wanted = lost_average_precision(merged, of_one, overlap=OVERLAP)
    torch.testing.assert_close(lost_average_precision(candidates, targets, overlap=OVERLAP, pooled=True), wanted)
    assert (lost_average_precision(candidates, targets, overlap=OVERLAP) - wanted).abs().max() > 5e-4


class View:
    """A network that finds what a scene says."""

    overlap = OVERLAP

    def __init__(self, candidates):
        self.found = candidates

    def candidates(self):
        return self.found


def test_objectives_are_what_they_are_called():
    scene = Scene()
    moved = torch.zeros(*scene.log_odds.shape, 4, requires_grad=True)
    raised = torch.zeros_like(scene.log_odds, requires_grad=True)
    values, gradients = {}, {}
    for name in ("", "_boxes", "_confidences", "_pooled"):
        reading: Any = Reading(View(scene.candidates(moved, raised)), scene.targets, 2)  # type: ignore[arg-type]
        values[name] = OBJECTIVES[f"average_precision{name}"](reading)
        found = torch.autograd.grad(values[name].sum(), (moved, raised), allow_unused=True)
        gradients[name] = [part is not None and bool(part.any()) for part in found]
    assert gradients == {
        "": [True, True],
        "_boxes": [True, False],
        "_confidences": [False, True],
        "_pooled": [True, True],
    }
    wanted = lost_average_precision(scene.candidates(moved, raised), scene.targets, overlap=OVERLAP, pooled=True)
    torch.testing.assert_close(values["_pooled"], wanted)
    assert not torch.equal(values[""], wanted)
