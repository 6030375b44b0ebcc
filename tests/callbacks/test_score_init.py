"""Initial scores arrive in the layers, and the look at the network leaves no trace."""

from typing import Any

import pytest
import torch

from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.score_init import ScoreInit
from hydra_det.init.base import InitialScores, Sample
from hydra_det.modules.masked_conv import make_masked, masked_layers
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
        self.value = 1.5

    def __call__(self, net, batches):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        for sample in self.samples:
            for made in batches(sample):
                net(made["images"])
                self.seen.setdefault(sample, []).append(made["images"].clone())
        if self.error:
            raise self.error
        layers = {name: torch.full_like(m.weight, k + self.value) for k, (name, m) in enumerate(masked_layers(net))}
        return InitialScores(layers, {"looked": len(self.seen)})


def unsettled_network():
    net = make_masked(network("yolov3_tiny"), exclude=["head_fine"])
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


def test_the_draws_of_an_attack_belong_to_seed_and_image():
    seen = []
    for seed, samples in ((3, [ATTACKED]), (3, [CLEAN, ATTACKED]), (4, [ATTACKED])):
        initialiser = Count(*samples)
        attack = PGD(epsilon=0.1, step_size=1e-9, steps=1, random_start=True)
        data = TinyData(2)
        for number, made in enumerate(data.batches):
            made["images"].fill_(0.5)
            made["targets"][0]["image_id"] = number
        callback = ScoreInit(initialiser, attack=attack, seed=seed)
        trainer(callback, max_epochs=0).fit(detector(make_masked(network("yolov3_tiny"))), datamodule=data)
        seen.append(torch.stack(initialiser.seen[ATTACKED]))
    first, again, other = seen
    torch.testing.assert_close(first, again, atol=1e-6, rtol=0)
    assert (first[0] - first[1]).abs().mean() > 0.01
    assert (first - other).abs().mean() > 0.01


def test_attacked_images_need_an_attack():
    with pytest.raises(InputError, match=r"init\.attacked: expected an attack"):
        start(ScoreInit(Count(ATTACKED)), unsettled_network())


def test_nothing_is_left_behind_by_an_error():
    net = unsettled_network()
    before = snapshot(net)
    with pytest.raises(RuntimeError, match="broken"):
        start(ScoreInit(Count(CLEAN, error=RuntimeError("broken"))), net)
    assert_untouched(net, before)


@pytest.mark.parametrize("what", ["weights", "scores"])
def test_what_is_not_finite_is_refused_with_its_layer(what):
    net, initialiser = unsettled_network(), Count()
    if what == "weights":
        with torch.no_grad():
            net.neck.conv.weight[0, 0, 0, 0] = torch.nan
    else:
        initialiser.value = torch.inf
    first = "neck.conv" if what == "weights" else "backbone.convs.0.conv"
    with pytest.raises(InputError, match=rf"expected finite {what}, got \d+ of \d+ that are not in layer {first}"):
        start(ScoreInit(initialiser), net)


def test_scores_that_are_all_zero_are_refused_and_one_such_layer_is_not():
    class Zeros(Count):
        def __call__(self, net, batches):
            found = super().__call__(net, batches)
            return InitialScores({name: torch.zeros_like(scores) for name, scores in found.layers.items()} | kept)

    net = unsettled_network()
    kept: dict[str, Any] = {}
    with pytest.raises(InputError, match="init: expected scores, got zeros alone in all layers from"):
        start(ScoreInit(Zeros()), net)
    name, layer = masked_layers(net)[2]
    kept[name] = torch.ones_like(layer.weight)
    start(ScoreInit(Zeros()), net)
