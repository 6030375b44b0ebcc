"""Masked convolutions against plain ones and against autograd of the same arithmetic written out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hydra_det.modules.masked_conv import MaskedConv2d, folded, make_dense, make_masked, masked_layers, masks_of
from tests.modules.example import NETWORKS, assert_untouched, batch, network, snapshot

LAYERS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_size": 3, "padding": 1, "bias": False},
    "1x1 with bias": {"kernel_size": 1},
    "stride and groups": {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2, "dilation": 2},
}


def masked_conv(name, seed=0):
    """A layer with random scores and about a third of its weights."""
    torch.manual_seed(seed)
    settings = LAYERS[name]
    layer = nn.Conv2d(4, 6, **settings)
    make_masked(layer)
    assert isinstance(layer, MaskedConv2d)
    with torch.no_grad():
        layer.scores.normal_()
        layer.mask.copy_(torch.rand_like(layer.weight) < 0.35)
    reference = {key: settings[key] for key in ("stride", "padding", "groups", "dilation") if key in settings}
    return layer, reference


def scatter_masks(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in masked_layers(net):
            layer.mask.copy_(torch.rand(layer.mask.shape, generator=generator) < 0.5)
            layer.scores.copy_(torch.randn(layer.mask.shape, generator=generator))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scores_learn", [False, True])
def test_forward_is_a_convolution_with_masked_weights(name, scores_learn):
    layer, reference = masked_conv(name)
    layer.scores.requires_grad_(scores_learn)
    images = torch.randn(2, 4, 9, 7)
    zeroed = torch.where(layer.mask, layer.weight, torch.zeros(()))
    assert torch.equal(layer(images), F.conv2d(images, zeroed, layer.bias, **reference))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    layer, reference = masked_conv(name)
    images = torch.randn(2, 4, 9, 7, requires_grad=True)
    factors = torch.randn_like(layer(images))
    gradients = torch.autograd.grad((layer(images) * factors).sum(), [layer.scores, layer.weight, images])

    # The mask as a free variable between 0 and 1: what the straight-through rule pretends it to be.
    soft = layer.mask.float().requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    output = (F.conv2d(images, weight * soft, layer.bias, **reference) * factors).sum()
    to_soft, to_weight, to_images = torch.autograd.grad(output, [soft, weight, images])
    signs = torch.tensor([1.0 if s > 0 else -1.0 for s in layer.scores.flatten().tolist()]).view_as(soft)
    torch.testing.assert_close(gradients[0], to_soft * signs)
    torch.testing.assert_close(gradients[1], to_weight)
    torch.testing.assert_close(gradients[2], to_images)
    assert (gradients[0][~layer.mask] != 0).all(), "pruned weights can come back"
    assert (gradients[1][~layer.mask] == 0).all(), "pruned weights do not learn"

    # d(w * m) * w * sign(s), from the gradient of the product itself.
    product = (layer.weight * layer.mask).detach().requires_grad_()
    (to_product,) = torch.autograd.grad((F.conv2d(images, product, layer.bias, **reference) * factors).sum(), product)
    torch.testing.assert_close(gradients[0], to_product * layer.weight * signs)


def test_frozen_scores_get_no_gradient():
    layer, _ = masked_conv("3x3")
    layer.scores.requires_grad_(False)
    layer(torch.randn(1, 4, 5, 5)).sum().backward()
    assert layer.scores.grad is None
    assert layer.weight.grad is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_conversion_changes_nothing(name):
    net = network(name).eval()
    images = batch()["images"]
    dense = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    convolutions = [key for key, module in net.named_modules() if type(module) is nn.Conv2d]
    expected = net(images)
    assert make_masked(net) is net
    for left, right in zip(net(images), expected, strict=True):
        assert torch.equal(left, right)
    state = net.state_dict()
    assert state.keys() - dense.keys() == {f"{key}.{part}" for key in convolutions for part in ("scores", "mask")}
    assert all(torch.equal(state[key], tensor) for key, tensor in dense.items())
    assert [key for key, _ in masked_layers(net)] == convolutions == list(masks_of(net))
    assert all(mask.dtype == torch.bool and mask.all() for mask in masks_of(net).values())

    make_dense(net)
    assert not masked_layers(net)
    assert [type(net.get_submodule(key)) for key in convolutions] == [nn.Conv2d] * len(convolutions)
    assert list(net.state_dict()) == list(dense)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in dense.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_to_dense_computes_the_same(name):
    net = make_masked(network(name)).eval()
    scatter_masks(net)
    images, masks = batch()["images"], {key: mask.clone() for key, mask in masks_of(net).items()}
    weights = {key: layer.weight.clone() for key, layer in masked_layers(net)}
    expected = net(images)
    for left, right in zip(make_dense(net)(images), expected, strict=True):
        assert torch.equal(left, right)
    for key, mask in masks.items():
        weight: Any = net.get_submodule(key).weight
        assert torch.equal(weight[mask], weights[key][mask])
        assert not weight[~mask].any()


@pytest.mark.parametrize("name", NETWORKS)
def test_masked_in_channels_last(name):
    net, images = make_masked(network(name)).eval(), batch()["images"]
    scatter_masks(net)
    plain = net(images)
    gradients = torch.autograd.grad(
        sum(level.square().sum() for level in plain), [m.scores for _, m in masked_layers(net)]
    )
    net.to(memory_format=torch.channels_last)
    strided = net(images.to(memory_format=torch.channels_last))
    again = torch.autograd.grad(
        sum(level.square().sum() for level in strided), [m.scores for _, m in masked_layers(net)]
    )
    for left, right in zip(plain, strided, strict=True):
        torch.testing.assert_close(right, left, atol=1e-4, rtol=1e-4)
    for left, right in zip(gradients, again, strict=True):
        assert (left - right).norm() <= 1e-4 * left.norm()


def test_excluded_layers_stay_dense():
    net = make_masked(network("yolov3"), exclude=["heads", "backbone.stem"])
    convolutions = [key for key, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    dense = {"heads.0", "heads.1", "heads.2", "backbone.stem.conv"}
    assert dense < set(convolutions)
    assert {key for key, _ in masked_layers(net)} == set(convolutions) - dense


def test_converting_twice_keeps_scores_and_masks():
    net = make_masked(network("yolov3_tiny"))
    scatter_masks(net)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    make_masked(net)
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


def test_folded_weights_are_made_once_and_answer_the_same(monkeypatch):
    net = make_masked(network("yolov3_tiny"))
    scatter_masks(net)
    net.eval()
    images = batch()["images"]
    with torch.no_grad():
        expected = net(images)
    before = snapshot(net)
    with folded(net):
        held = [layer.effective_weight() for _, layer in masked_layers(net)]
        again = [layer.effective_weight() for _, layer in masked_layers(net)]
        assert all(first is second for first, second in zip(held, again, strict=True))
        moved = images.clone().requires_grad_()
        found = net(moved)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        found[0].sum().backward()
        assert moved.grad is not None
        layer = masked_layers(net)[0][1]
        assert layer.weight.grad is None
    with pytest.raises(RuntimeError), folded(net):
        net(images[:, :1])
    assert all(layer._folded is None for _, layer in masked_layers(net))
    for parameter in net.parameters():
        parameter.grad = None
    assert_untouched(net, before)
