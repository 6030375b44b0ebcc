"""A look at a network leaves every flag as it was."""

import pytest
import torch
from torch import nn

from hydra_det.modules.undisturbed import undisturbed
from tests.modules.example import assert_untouched, batch, network, snapshot, unsettle


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_flags_come_back(error):
    net = network("yolov3_tiny")
    unsettle(net)
    before = snapshot(net)
    assert len(set(before["modes"].values())) == len(set(before["wanted"].values())) == 2

    def look():
        with undisturbed(net) as inside:
            assert inside is net
            assert not any(module.training for module in net.modules())
            assert not any(parameter.requires_grad for parameter in net.parameters())
            images = batch()["images"].requires_grad_()
            sum(level.sum() for level in net(images)).backward()
            assert images.grad is not None
            if error:
                raise error

    if error:
        with pytest.raises(error):
            look()
    else:
        look()
    assert_untouched(net, before)


def test_shared_modules_and_parameters():
    shared = nn.Conv2d(2, 2, 1)
    net = nn.Sequential(shared, nn.BatchNorm2d(2), shared)
    shared.weight.requires_grad_(False)
    net[1].eval()
    with undisturbed(net), undisturbed(net):
        net(torch.ones(1, 2, 3, 3))
    assert [module.training for module in net] == [True, False, True]
    assert [parameter.requires_grad for parameter in net.parameters()] == [False, True, True, True]
