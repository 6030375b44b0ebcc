"""Every initialiser gives finite scores of the right shapes and touches nothing; each against its formula in numpy."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hydra_det.init import INITIALISERS
from hydra_det.init.scaled import Scaled
from hydra_det.init.simple import Magnitude, Random
from hydra_det.modules.masked_conv import masked_layers, to_masked
from hydra_det.prune.masks import mask_from_scores
from tests.modules.example import NETWORKS, assert_untouched, batch, network, snapshot, unsettle
from tests.prune.test_masks import RATIOS, best_by_sorting, exactly_kept


def batches():
    return [batch(seed=0), batch(seed=1)]


def initialiser(name, *, seed=0):
    built = INITIALISERS[name]
    return built(seed=seed) if "seed" in inspect.signature(built).parameters else built()


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", INITIALISERS)
def test_scores_of_every_layer(name, network_name):
    net = to_masked(network(network_name), exclude=["head"])
    unsettle(net)
    before, state = snapshot(net), torch.get_rng_state()
    scores = initialiser(name)(net, batches)
    assert_untouched(net, before)
    assert torch.equal(torch.get_rng_state(), state), "what is drawn later must not depend on the initialiser"
    assert list(scores) == [key for key, _ in masked_layers(net)]
    for key, layer in masked_layers(net):
        found = scores[key]
        assert (found.shape, found.dtype) == (layer.weight.shape, layer.weight.dtype)
        assert found.isfinite().all()
        assert not found.requires_grad
        assert found.count_nonzero() > 0.99 * found.numel()
        assert found.data_ptr() != layer.weight.data_ptr()


def test_scaled_is_its_formula():
    net = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, (3, 1)))
    scores = Scaled()(to_masked(net), batches)
    for (key, layer), fan_in in zip(masked_layers(net), (6 / 2 * 9, 4, 5 * 3), strict=True):
        weight = layer.weight.detach().double().numpy()
        np.testing.assert_allclose(scores[key], np.sqrt(6 / fan_in) * weight / np.abs(weight).max(), rtol=1e-5)


def test_scaled_survives_a_layer_of_zeros():
    net = to_masked(nn.Sequential(nn.Conv2d(2, 2, 3)))
    nn.init.zeros_(masked_layers(net)[0][1].weight)
    assert Scaled()(net, batches)["0"].tolist() == torch.zeros(2, 2, 3, 3).tolist()


@pytest.mark.parametrize("name", ["scaled", "magnitude"])
def test_first_mask_keeps_the_largest_weights(name):
    net = to_masked(nn.Sequential(nn.Conv2d(5, 8, 3), nn.Conv2d(8, 7, 1)))
    scores = initialiser(name)(net, batches)
    for key, layer in masked_layers(net):
        weight = layer.weight.detach().abs().double().numpy()
        for ratio in RATIOS:
            expected = best_by_sorting(weight.flatten().tolist(), exactly_kept(weight.size, ratio))
            assert mask_from_scores(scores[key], ratio=float(ratio)).flatten().tolist() == expected
            if weight.ndim == 4 and weight.shape[2] == 3:
                means = weight.mean((2, 3)).flatten()
                expected = best_by_sorting(means.tolist(), exactly_kept(means.size, ratio))
                mask = mask_from_scores(scores[key], ratio=float(ratio), granularity="kernel")
                assert mask[:, :, 0, 0].flatten().tolist() == expected


def test_magnitude_is_unscaled():
    net = to_masked(network("yolov3_tiny"))
    scores = Magnitude()(net, batches)
    for key, layer in masked_layers(net):
        np.testing.assert_array_equal(scores[key], np.abs(layer.weight.detach().numpy()))


def test_random_is_its_seed_and_nothing_else():
    net, other = (to_masked(network("yolov3_tiny", seed=seed)) for seed in (1, 2))
    first, again, different = (Random(seed=seed)(made, batches) for made, seed in ((net, 3), (other, 3), (net, 4)))
    for key, scores in first.items():
        assert torch.equal(scores, again[key])
        assert (scores != different[key]).float().mean() > 0.99
        weight: Any = net.get_submodule(key).weight
        largest = np.sqrt(6 / weight[0].numel())
        assert 0.9 * largest < scores.abs().max() <= largest
    layers = list(first.values())
    assert not torch.equal(layers[0].flatten()[:100], layers[1].flatten()[:100]), "every layer has its own draw"
    wide = layers[-2].flatten().double().numpy()
    assert abs(wide.mean()) < 4 * wide.std() / np.sqrt(wide.size)
    assert wide.std() == pytest.approx(np.abs(wide).max() / np.sqrt(3), rel=0.05)
