"""Batches that are ranked one after another, against the same images in one batch."""

import pytest
import torch

from hydra_det.attacks.objectives.average_precision import lost_average_precision
from hydra_det.attacks.objectives.ranking import Ranking
from tests.attacks.objectives.test_average_precision import OVERLAP, Scene


def parts(scene, images, raised):
    """The candidates and objects of some images of a scene, log-odds raised."""
    every = scene.candidates(torch.zeros(*scene.log_odds.shape, 4), raised)
    return type(every)(*(part[images] for part in every)), scene.targets[images]


def lost(scene, images, raised, ranking=None):
    candidates, targets = parts(scene, images, raised)
    value = lost_average_precision(candidates, targets, overlap=OVERLAP, ranking=ranking)
    return value * sum(len(target["labels"]) for target in targets)  # of all objects, instead of their share


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
    assert (lost(scene, third, nothing) - together).abs().max() > 0.02, "alone it is another ranking"


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
