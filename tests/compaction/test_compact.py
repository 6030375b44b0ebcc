"""The compact network answers what the masked one does, is as small as it should be, and cannot be made smaller."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hydra_det.compaction import compact as compaction
from hydra_det.compaction.channels import silence
from hydra_det.compaction.compact import compact, prove_equal
from hydra_det.modules.masked_conv import make_dense, masked_layers, masks_of
from hydra_det.pruning.settings import KINDS
from hydra_det.types import InputError
from tests.compaction.example import parameters, with_masks
from tests.init.example import answering
from tests.modules.example import ARCHITECTURES, assert_untouched, batch, snapshot

RATIOS = {"nm": (0.5, 0.75), "random": (0.5, 0.9, 0.97, 0.99, 0.999)}
CASES = [(kind, ratio) for kind in (*KINDS, "random") for ratio in RATIOS.get(kind, (0.0, 0.5, 0.9, 0.95))]
# The same on networks of 75 layers, at one ratio of each kind, where much is left and much is cut.
DEEP = ("yolov3", "yolov3_spp")
ONCE = {"nm": 0.75, "random": 0.97}
EVERYWHERE = [
    (name, kind, ratio)
    for name in ARCHITECTURES
    for kind, ratio in CASES
    if name not in DEEP or ratio == ONCE.get(kind, 0.9)
]
SHAPES = ((2, 3, 64, 64), (1, 3, 96, 160))


def images(shape, dtype):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def largest_difference(masked, smaller, dtype):
    """Computed here, with the masks in place: nothing of it is the package's."""
    worst = 0.0
    with torch.no_grad():
        for shape in SHAPES:
            sample = images(shape, dtype)
            for wanted, got in zip(masked.to(dtype)(sample), smaller.to(dtype)(sample), strict=True):
                assert got.shape == wanted.shape
                worst = max(worst, float((wanted - got).abs().max() / wanted.abs().max()))
    return worst


@pytest.mark.parametrize(("name", "kind", "ratio"), EVERYWHERE)
def test_equal_and_smaller(name, kind, ratio):
    net = with_masks(name, kind, ratio)
    before = snapshot(net)
    made = compact(net)
    assert_untouched(net, before)
    assert largest_difference(copy.deepcopy(net), copy.deepcopy(made.network), torch.float64) <= 1e-9
    assert largest_difference(copy.deepcopy(net), copy.deepcopy(made.network), torch.float32) <= 1e-4
    assert made.differences.keys() == {"float64", "float32"}
    assert not made.network.training
    again = compact(made.network).network
    assert again.graph == made.network.graph, "there is nothing left to remove"
    left, whole = parameters(made.network), parameters(make_dense(net))
    assert left <= whole
    if ratio == 0:
        assert left == whole


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9, 0.95])
def test_groups_of_filters_are_removed_to_the_last_weight(name, ratio):
    net = with_masks(name, "filter_group", ratio)
    kept = sum(int(mask.sum()) for mask in masks_of(net).values())
    made = compact(net).network
    weights = sum(module.weight.numel() for module in made.modules() if isinstance(module, nn.Conv2d))
    assert weights == kept


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["random", "filter", "filter_group", "hybrid"])
def test_equal_after_finetuning(name, kind):
    """Surviving weights and BatchNorm moved, running statistics too; dead channels held as the callback holds them."""
    net = with_masks(name, kind, 0.97 if kind == "random" else 0.9)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * parameter.abs().mean() * 0.1)
        net.train()(batch(seed=2)["images"])
    silence(net)
    net.eval()
    made = compact(net).network
    assert largest_difference(net, made, torch.float64) <= 1e-9


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_pruned_filter_that_still_emits_its_constant_is_kept(name):
    """Without zeros in BatchNorm nothing that changes the answer goes."""
    net = with_masks(name, "filter", 0.9, quiet=False)
    made = compact(net).network
    quiet = compact(with_masks(name, "filter", 0.9)).network
    assert parameters(made) > parameters(quiet)
    assert largest_difference(net, made, torch.float64) <= 1e-9


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["filter_group", "random"])
def test_channels_are_rounded_up(name, kind):
    net = with_masks(name, kind, 0.9 if kind == "filter_group" else 0.99)
    exact, rounded = compact(net).network, compact(net, multiple=8).network
    sizes = {key: module.out_channels for key, module in exact.named_modules() if isinstance(module, nn.Conv2d)}
    for key, module in rounded.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            whole = net.get_submodule(key).out_channels
            assert module.out_channels % 8 == 0 or module.out_channels == whole
            if name.startswith("darknet"):  # what is tied to several others is rounded up with each of them
                continue
            assert sizes[key] <= module.out_channels < sizes[key] + 8 or module.out_channels == whole
    assert largest_difference(net, rounded, torch.float64) <= 1e-9


def test_a_silent_branch_is_removed_with_its_sum():
    net = with_masks("yolov3", "random", 0.0)
    layers = dict(masked_layers(net))
    layers["backbone.stages.3.1.expand.conv"].mask.zero_()
    silence(net)
    made = compact(net).network
    assert not any(node.name.startswith("backbone.stages.3.1") for node in made.graph.nodes)
    graphs = compact(answering()).network.graph, made.graph
    sums = [[node.operation for node in graph.nodes].count("add") for graph in graphs]
    assert sums[0] - sums[1] == 1
    assert largest_difference(net, made, torch.float64) <= 1e-9


def test_a_silent_channel_is_heard_behind_a_logistic_activation():
    net = with_masks("darknet_varied", "random", 0.0)
    dict(masked_layers(net))["layers.11.conv"].mask[5] = False
    silence(net)
    made = compact(net).network
    assert made.get_submodule("layers.11.conv").out_channels == net.get_submodule("layers.11.conv").out_channels
    assert largest_difference(net, made, torch.float64) <= 1e-9


def test_a_head_that_nothing_reaches_keeps_its_biases():
    net = with_masks("yolov3", "random", 0.0)
    dict(masked_layers(net))["outs.1.conv"].mask.zero_()
    silence(net)
    made = compact(net).network
    assert made.get_submodule("heads.1").in_channels == 1
    assert largest_difference(net, made, torch.float64) <= 1e-9


def test_the_answer_is_compared_before_anything_is_given_out(monkeypatch):
    def spoilt(dense: Any, multiple: int) -> Any:
        made = smaller(dense, multiple)
        with torch.no_grad():
            dict(made.named_parameters())["heads.0.bias"][0] += 1e-2
        return made

    smaller = compaction._smaller
    monkeypatch.setattr(compaction, "_smaller", spoilt)
    with pytest.raises(InputError, match=r"expected the same raw maps .*, within 1e-09 .* at level 0; the compact"):
        compact(with_masks("yolov3", "weight", 0.5))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_error_at_a_border_alone_is_found(level):
    net = answering("yolov3")

    class Spoilt(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, sample):
            raw = self.net(sample)
            raw[level][:, 0, -1, 0] += 1e-3 * raw[level].abs().max()
            return raw

    with pytest.raises(InputError, match=f"at level {level}"):
        prove_equal(net, Spoilt())
    assert max(prove_equal(net, net).values()) == 0.0


def test_nan_is_no_equality():
    net = answering("yolov3_tiny")
    broken = copy.deepcopy(net)
    broken.head_fine.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="difference of nan"):
        prove_equal(net, broken)


@pytest.mark.parametrize("name", ["yolov3", "darknet_depthwise"])
def test_a_compact_network_detects_and_learns_like_another(name):
    net = with_masks(name, "filter_group", 0.75)
    made = compact(net).network
    sample = batch()
    wanted, got = (n.losses(n(sample["images"]), sample["targets"]).total for n in (net, made))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    found = [n.detections(n(sample["images"])) for n in (net, made)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.confidences, b.confidences, rtol=1e-3, atol=1e-5)
    for a, b in zip(*(n.decode(n(sample["images"])).boxes for n in (net, made)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    got.mean().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("multiple", [0, -8])
def test_a_multiple_below_one_is_refused(multiple):
    with pytest.raises(InputError, match="multiple: expected a whole number of at least 1"):
        compact(answering("yolov3_tiny"), multiple=multiple)
