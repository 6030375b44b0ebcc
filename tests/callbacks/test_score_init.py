"""Initial scores arrive in the layers, and the look at the network leaves no trace."""

from typing import Any

import pytest
import torch

from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.score_init import ScoreInit
from hydra_det.init.base import InitialScores, Sample
from hydra_det.modules.masked_conv import masked_layers, to_masked
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import assert_untouched, network, snapshot, unsettle

CLEAN = Sample(images=6, micro_batch=2)
ATTACKED = Sample(images=6, micro_batch=2, attacked=True)


class Count:
    """Scores that say which layer they are for; looks at every batch."""

    def __init__(self, *samples: Sample, error: Exception | None = None) -> None:
        self.samples = samples
        self.error = error
        self.seen: dict[Sample, list[Any]] = {}

    def __call__(self, net, batches):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        for sample in self.samples:
            for made in batches(sample):
                net(made["images"])
                self.seen.setdefault(sample, []).append(made["images"].clone())
        if self.error:
            raise self.error
        layers = {name: torch.full_like(m.weight, k + 1.5) for k, (name, m) in enumerate(masked_layers(net))}
        return InitialScores(layers, {"looked": len(self.seen)})


def unsettled_network():
    net = to_masked(network("yolov3_tiny"), exclude=["head_fine"])
    unsettle(net)
    return net


def start(callback, net, *, batches=3):
    data = TinyData(batches)
    trainer(callback, max_epochs=0).fit(detector(net), datamodule=data)
    return torch.stack([made["images"] for made in data.batches])


def test_scores_are_set():
    net, initialiser = unsettled_network(), Count(CLEAN, ATTACKED)
    net.zero_grad()  # as Lightning does when a fit starts
    before = snapshot(net)
    callback = ScoreInit(initialiser, attack=PGD(epsilon=0.1, step_size=0.05, steps=1))
    images = start(callback, net)
    for k, (_, layer) in enumerate(masked_layers(net)):
        assert (layer.scores == k + 1.5).all()
        with torch.no_grad():
            layer.scores.zero_()  # as it was
    assert_untouched(net, before)
    assert callback.facts.pop("seconds") > 0
    assert callback.facts == {"looked": 2}
    assert torch.equal(torch.stack(initialiser.seen[CLEAN]), images)
    attacked = torch.stack(initialiser.seen[ATTACKED])
    moved = (attacked - images).abs()
    assert moved.max() <= 0.05 + 1e-6, "one step"
    assert (moved > 0.01).float().mean() > 0.5


def test_the_draws_of_an_attack_do_not_depend_on_what_was_drawn_before():
    first, second = Count(ATTACKED), Count(CLEAN, ATTACKED)
    for initialiser, batches in ((first, 1), (second, 3)):
        attack = PGD(epsilon=0.1, step_size=0.05, steps=1, random_start=True)
        start(ScoreInit(initialiser, attack=attack, seed=3), to_masked(network("yolov3_tiny")), batches=batches)
    assert torch.equal(first.seen[ATTACKED][0], second.seen[ATTACKED][0])


def test_attacked_images_need_an_attack():
    with pytest.raises(InputError, match=r"init\.attacked: expected an attack"):
        start(ScoreInit(Count(ATTACKED)), unsettled_network())


def test_nothing_is_left_behind_by_an_error():
    net = unsettled_network()
    before = snapshot(net)
    with pytest.raises(RuntimeError, match="broken"):
        start(ScoreInit(Count(CLEAN, error=RuntimeError("broken"))), net)
    assert_untouched(net, before)
