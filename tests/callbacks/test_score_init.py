"""Initial scores arrive in the layers, and the look at the network leaves no trace."""

import pytest
import torch

from hydra_det.callbacks.score_init import ScoreInit
from hydra_det.modules.masked_conv import masked_layers, to_masked
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import assert_untouched, network, snapshot, unsettle


class Count:
    """Scores that say which layer they are for; looks at every batch."""

    def __init__(self, error=None):
        self.error = error
        self.seen = []

    def __call__(self, net, batches):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        for _ in range(2):  # the batches can be asked for again
            for made in batches():
                net(made["images"])
                self.seen.append(made["images"].sum().item())
        if self.error:
            raise self.error
        return {name: torch.full_like(m.weight, k + 1.5) for k, (name, m) in enumerate(masked_layers(net))}


def unsettled_network():
    net = to_masked(network("yolov3_tiny"), exclude=["head_fine"])
    unsettle(net)
    return net


def test_scores_are_set():
    net, initialiser, data = unsettled_network(), Count(), TinyData(3)
    net.zero_grad()  # as Lightning does when a fit starts
    before = snapshot(net)
    trainer(ScoreInit(initialiser), max_epochs=0).fit(detector(net), datamodule=data)
    for k, (_, layer) in enumerate(masked_layers(net)):
        assert (layer.scores == k + 1.5).all()
        with torch.no_grad():
            layer.scores.zero_()  # as it was
    assert_untouched(net, before)
    assert initialiser.seen == [made["images"].sum().item() for made in data.batches] * 2


def test_nothing_is_left_behind_by_an_error():
    net = unsettled_network()
    before = snapshot(net)
    with pytest.raises(RuntimeError, match="broken"):
        trainer(ScoreInit(Count(RuntimeError("broken"))), max_epochs=0).fit(detector(net), datamodule=TinyData())
    assert_untouched(net, before)
