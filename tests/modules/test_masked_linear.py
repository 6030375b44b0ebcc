"""Linear layers are masked like convolutions of one place: their scores and masks are [O, I, 1, 1]."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hydra_det.callbacks.score_init import set_scores
from hydra_det.compaction.channels import layout
from hydra_det.compaction.counts import count_flops
from hydra_det.init import INITIALISERS
from hydra_det.init.order import by_channel
from hydra_det.modules.detector import parameter_groups
from hydra_det.modules.masked_conv import MaskedLinear, folded, make_dense, make_masked, masked_layers, sparsity
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings


class Mixed(nn.Module):
    """A convolution, and what looks at its map as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Linear(4 * 32 * 32, 6)
        self.third = nn.Linear(6, 5, bias=False)

    def forward(self, images):
        return [self.third(self.second(self.first(images).relu().flatten(1)).relu())]


def mixed() -> Any:
    torch.manual_seed(0)
    return Mixed()


def test_a_mask_is_a_product_and_a_score_gets_the_gradient_of_it():
    net = mixed()
    plain, before = copy.deepcopy(net), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    make_masked(net)
    layers: dict[str, Any] = dict(masked_layers(net))
    assert [type(layer).__name__ for layer in layers.values()] == ["MaskedConv2d", "MaskedLinear", "MaskedLinear"]
    assert layers["second"].scores.shape == layers["second"].mask.shape == (6, 4096, 1, 1)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(net(images)[0], plain(images)[0])
    with torch.no_grad():
        layers["second"].mask[::2] = False
        layers["third"].mask[:, 1::2] = False
        plain.second.weight[::2] = 0
        plain.third.weight[:, 1::2] = 0
    torch.testing.assert_close(net(images)[0], plain(images)[0])
    with folded(net):
        torch.testing.assert_close(net(images)[0], plain(images)[0])
    with torch.no_grad():
        layers["third"].scores.uniform_(-1, 1)
    net(images)[0].square().sum().backward()
    plain(images)[0].square().sum().backward()
    expected = plain.third.weight.grad * net.third.weight * layers["third"].scores[..., 0, 0].sign()
    torch.testing.assert_close(layers["third"].scores.grad[..., 0, 0], expected)
    make_dense(net)
    assert type(net.second) is nn.Linear
    assert net.state_dict().keys() == before.keys()
    assert torch.equal(net.second.weight[1::2], before["second.weight"][1::2])
    assert not net.second.weight[::2].any()


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
@pytest.mark.parametrize("allocation", ["uniform", "global", "erk", "lamp"])
@pytest.mark.parametrize("budget", ["parameters", "flops"])
def test_all_layers_are_pruned_together(granularity, allocation, budget):
    net = make_masked(mixed())
    set_scores(net, INITIALISERS["scaled"](), lambda _: ())
    found = layout(net, channels=False)
    assert {name: layer.shape for name, layer in found.layers.items()} == {
        "first": (4, 3, 3, 3), "second": (6, 4096, 1, 1), "third": (5, 6, 1, 1),
    }  # fmt: skip
    assert [layer.positions for layer in found.layers.values()] == [32 * 32, 1, 1]
    plan = mask_plan(PruneSettings(ratio=0.5, granularity=granularity, allocation=allocation, budget=budget), found)
    masks = plan.masks({name: layer.scores.detach() for name, layer in masked_layers(net)}, counts=None, final=True)
    for name, layer in masked_layers(net):
        layer.mask.copy_(masks[name])
        kept = layer.weight.detach().abs().view_as(layer.mask)
        if granularity == "weight" and layer.mask.any() and not layer.mask.all():
            assert kept[layer.mask].min() >= kept[~layer.mask].max(), "the largest weights stay"
    counted = sparsity(net)
    cost = {name: (1 if budget == "parameters" else layer.positions) for name, layer in found.layers.items()}
    total = sum(cost[name] * layer.mask.numel() for name, layer in masked_layers(net))
    left = sum(cost[name] * int(layer.mask.sum()) for name, layer in masked_layers(net))
    if budget == "flops":
        assert left / total == pytest.approx(0.5, abs=0.05)
    if budget == "parameters":
        assert counted["pruned"] / counted["total"] == pytest.approx(0.5, abs=0.01)


def test_what_else_knows_linear_layers():
    net: Any = make_masked(mixed(), exclude=["second"])
    assert [name for name, _ in masked_layers(net)] == ["first", "third"]
    decaying = {id(parameter) for parameter in parameter_groups(net)[0]["params"]}
    assert decaying == {id(net.first.weight), id(net.second.weight), id(net.third.weight)}
    assert count_flops(net, 64) == 2 * (4 * 27 * 32 * 32 + 6 * 4096 + 5 * 6)
    values = torch.rand(5, 6)
    torch.testing.assert_close(
        by_channel(values, net.third), values / values.sum(1, keepdim=True) + values / values.sum(0, keepdim=True)
    )
    assert isinstance(net.third, MaskedLinear)
