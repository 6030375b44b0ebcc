"""DeepLIFT through products: by hand, over a cut, and on torchvision's families, which are full of them."""

import functools

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from hydra_det.init.contributions import contributions, likely_causes
from hydra_det.init.products import normalised, product
from hydra_det.init.rules import RULES, Rescale
from hydra_det.init.targets import TARGETS
from hydra_det.modules.norms import L2Norm
from tests.init.test_contributions import Single, whole
from tests.modules.torchvision.example import NAMES, family, pictures, targets


def test_a_product_by_hand():
    """5 * 7 against 2 * 3: a difference of 29, of which the first factor brings 3 * 5 and the second 4 * 3.5."""
    one, other = torch.tensor([5.0], requires_grad=True), torch.tensor([7.0], requires_grad=True)
    found = product(one, other, torch.tensor([2.0]), torch.tensor([3.0]))
    assert found.item() == 35
    to_one, to_other = torch.autograd.grad(found, (one, other))
    assert (to_one.item(), to_other.item()) == (5.0, 3.5)
    assert 3 * to_one + 4 * to_other == 35 - 6


def test_a_factor_that_is_stretched_gets_all_of_its_places():
    values, factor = torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 1, 1, requires_grad=True)
    before, factor_before = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 1, 1)
    found = product(factor, values, factor_before, before)
    to_factor, to_values = torch.autograd.grad(found.sum(), (factor, values))
    torch.testing.assert_close(to_factor, ((values + before) / 2).sum((2, 3), keepdim=True))
    torch.testing.assert_close(to_values, ((factor + factor_before) / 2).expand_as(values))


def excite(channels: int) -> nn.Module:
    return SqueezeExcitation(channels, 3, activation=nn.ReLU, scale_activation=nn.Hardsigmoid)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [excite, lambda channels: nn.GroupNorm(2, channels), lambda _: L2Norm()])
def test_contributions_are_complete_over_a_cut(make, rule):
    torch.manual_seed(0)
    layer = make(8)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    net = Single(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), layer, nn.SiLU(), nn.Conv2d(8, 4, 1), layer_again := nn.ReLU()
    )
    net = net.double().eval()
    images, reference = torch.rand(2, 3, 6, 6).double(), torch.rand(1, 3, 6, 6).double()
    plain = net(images)[0]
    found = contributions(net, images, reference, coefficients=whole, rule=RULES[rule]())
    assert found.gap < 1e-9
    assert found.whole > 0.1
    torch.testing.assert_close(found.weights["parts.0"].sum(), found.differences.sum())
    torch.testing.assert_close(found.differences.sum(), (plain - net(reference)[0]).sum())
    assert layer_again.training is False


def test_a_normalisation_is_computed_as_ever():
    torch.manual_seed(0)
    values, before = torch.randn(2, 6, 5, 5).double(), torch.randn(1, 6, 5, 5).double()
    for layer in (nn.GroupNorm(3, 6).double(), nn.GroupNorm(1, 6, affine=False).double(), L2Norm()):
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        torch.testing.assert_close(normalised(layer, values, before, Rescale()), layer(values))


@pytest.mark.parametrize("name", NAMES)
def test_contributions_on_torchvisions_families(name):
    net = family(name).double()
    images = pictures(name).double()
    of_loss = functools.partial(TARGETS["loss"], net, targets(name))
    found = contributions(net, images, torch.full_like(images[:1], 0.5), coefficients=of_loss, rule=Rescale())
    assert found.gap < 1e-6
    assert found.whole > 1e-3
    convolutions = {key for key, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    assert found.weights.keys() == convolutions, "every layer of the forward"
    first = next(key for key, module in net.named_modules() if isinstance(module, nn.Conv2d))
    assert found.weights[first].sum().item() == pytest.approx(found.differences.sum().item(), rel=1e-6, abs=1e-9)
    assert likely_causes(net) == [
        "does a function such as F.relu, exp or a product stand in a forward where a module should be?"
    ]
