"""BatchNorm of silenced channels is zero after `prune` and stays zero while the rest learns."""

import pytest
import pytorch_lightning as pl
import torch

from hydra_det.callbacks.dead_channels import DeadChannels
from hydra_det.callbacks.freeze import Freeze
from hydra_det.compaction.compact import compact
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, trainer
from tests.init.example import answering

pytestmark = pytest.mark.filterwarnings("ignore:Total length of `list`")

DEAD = {"necks.0.0": [3, 4], "backbone.stages.2.1.expand": [7]}


def pruned_network():
    """Three filters are masked whole, and one that only they feed."""
    net = make_masked(answering("yolov3"))
    layers = dict(masked_layers(net))
    for name, channels in DEAD.items():
        layers[f"{name}.conv"].mask[channels] = False
    layers["necks.0.1.conv"].mask[9] = False
    layers["necks.0.1.conv"].mask[9, 3] = True
    return net


def norms(net):
    return {**{f"{name}.norm": channels for name, channels in DEAD.items()}, "necks.0.1.norm": [9]}


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_dead_channels_are_zero_and_stay_so(decay):
    net = pruned_network()
    before = {name: net.get_submodule(name).bias.detach().clone() for name in norms(net)}
    module = detector(net)
    # Whatever the optimiser does with momentum and decay of what it is given.
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1e-5, momentum=0.9, weight_decay=decay)
    run = trainer(Freeze(train=["weights", "batch_norm"]), DeadChannels(), max_epochs=3)
    run.fit(module, datamodule=TinyData(3))
    assert run.global_step == 9
    for name, channels in norms(net).items():
        norm = net.get_submodule(name)
        zero = (norm.weight == 0) & (norm.bias == 0)
        assert zero.nonzero().flatten().tolist() == channels
        alive = ~zero
        assert not torch.equal(norm.bias[alive], before[name][alive]), "the others learn"
    made = compact(net).network
    assert made.get_submodule("necks.0.0.conv").out_channels == net.get_submodule("necks.0.0.conv").out_channels - 2


def test_without_it_a_dead_channel_comes_back():
    net = pruned_network()
    trainer(DeadChannels(), max_epochs=0).fit(detector(net), datamodule=TinyData())
    trainer(Freeze(train=["weights", "batch_norm"])).fit(detector(net), datamodule=TinyData(3))
    norm = net.get_submodule("necks.0.0.norm")
    assert norm.bias[DEAD["necks.0.0"]].abs().min() > 0


def test_a_stage_that_trains_nothing_zeroes_them_and_nothing_else():
    net = pruned_network()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trainer(DeadChannels(), max_epochs=0).fit(detector(net), datamodule=TinyData())
    for name, tensor in net.state_dict().items():
        changed = (tensor != state[name]).nonzero()
        part, _, kind = name.rpartition(".")
        if kind in ("weight", "bias") and part in norms(net):
            assert changed.flatten().tolist() == norms(net)[part]
        else:
            assert not len(changed), name


class Watch(pl.Callback):
    def on_train_start(self, *_):
        raise AssertionError("a network that is cut was trained")


def test_a_network_that_is_cut_is_refused():
    net = pruned_network()
    dict(masked_layers(net))["outs.1.conv"].mask.zero_()
    with pytest.raises(InputError, match=r"every raw map a way from the image, got nothing for heads\.1; lower prune"):
        trainer(DeadChannels(), Watch()).fit(detector(net), datamodule=TinyData())
