"""Networks that are no YOLO are cut where they stand, answer the same, and come back from their files."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from hydra_det.compaction.channels import channel_ids, layout, silence
from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.counts import count_flops
from hydra_det.compaction.files import ARCHITECTURE, WEIGHTS, load_compact, save_compact
from hydra_det.compaction.trace import trace
from hydra_det.modules.masked_conv import make_dense, make_masked, masked_layers, sparsity
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings
from hydra_det.types import InputError
from tests.compaction.example import parameters
from tests.modules.own import Small
from tests.modules.torchvision.example import NAMES, family, pictures


def pruned(name: str, *, ratio: float = 0.5, granularity: str = "filter_group"):
    """A family whose channels, or filters, are masked by random scores."""
    net = make_masked(family(name))
    generator = torch.Generator().manual_seed(0)
    scores = {key: torch.rand(layer.scores.shape, generator=generator) for key, layer in masked_layers(net)}
    settings = PruneSettings(ratio=ratio, granularity=granularity)
    masks = mask_plan(settings, layout(net)).masks(scores, counts=None, final=True)
    with torch.no_grad():
        for key, layer in masked_layers(net):
            layer.mask.copy_(masks[key])
            if layer.bias is not None:  # what a filter without weights adds by its bias would keep its channel
                layer.bias[~layer.mask.flatten(1).any(1)] = 0
    silence(net)
    return net.eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_cut_and_answers_the_same(name, tmp_path):
    net = pruned(name, ratio=0.2 if "mobilenet" in name else 0.5)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    found = compact(net)
    small = found.network
    assert type(small) is type(net)
    assert found.differences["float64"] < 1e-9
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items()), "it is left alone"
    share = sparsity(net)
    whole = parameters(make_dense(net))
    assert parameters(small) < whole - 0.8 * share["pruned"], "nearly all that masks removed is gone"
    size = pictures(name).shape[-1]
    assert count_flops(small, size) < count_flops(net, size)
    with torch.no_grad():
        wanted, got = net.detections(net(pictures(name))), small.detections(small(pictures(name)))
    for one, two in zip(wanted, got, strict=True):
        torch.testing.assert_close(one.confidences, two.confidences, rtol=1e-3, atol=1e-5)
    save_compact(tmp_path, small, {"classes": ["a"]})
    loaded, about = load_compact(tmp_path)
    assert about == {"classes": ["a"]}
    assert loaded.state_dict().keys() == small.state_dict().keys()
    with torch.no_grad():
        for one, two in zip(small(pictures(name)), loaded(pictures(name)), strict=True):
            assert torch.equal(one, two)
    assert not loaded.training


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter"])
def test_other_masks_stay_exact(granularity):
    net = pruned("ssdlite", granularity=granularity, ratio=0.3)
    found = compact(net)
    assert found.differences["float64"] < 1e-9
    whole = parameters(as_graph(net))
    assert parameters(found.network) < whole if granularity == "filter" else parameters(found.network) <= whole


def test_channels_are_rounded_up():
    net = pruned("retinanet")
    found = compact(net, multiple=8)
    assert found.differences["float64"] < 1e-9
    body = [module for module in found.network.backbone.modules() if isinstance(module, nn.Conv2d)]
    assert all(layer.out_channels % 8 == 0 for layer in body)
    assert parameters(compact(net).network) < parameters(found.network) < parameters(as_graph(net))


def test_what_a_shared_head_reads_and_writes_is_one():
    net = family("retinanet")
    graph = trace(net)
    uses = [node for node in graph.nodes if node.layer == "head.classification_head.conv.0.0"]
    assert len(uses) == 5
    assert len({node.name for node in uses}) == 5
    ids = channel_ids(graph)
    assert all((ids[node.name] == ids[uses[0].name]).all() for node in uses)
    assert all((ids[node.inputs[0]] == ids[uses[0].inputs[0]]).all() for node in uses)
    found = layout(make_masked(net)).layers
    assert found["head.classification_head.conv.0.0"].positions == 8 * 8 + 4 * 4 + 2 * 2 + 1 + 1


def test_what_looks_at_all_channels_keeps_them():
    graph = trace(net := make_masked(family("fcos")))
    normed = next(node for node in graph.nodes if node.operation == "group_norm")
    found = layout(net)
    assert found.fixed[torch.from_numpy(channel_ids(graph)[normed.name])].all()
    stem = found.layers["backbone.body.conv1"]
    assert not found.fixed[stem.writes].any(), "others may go"


class Gate(nn.Module):
    """A map times what squeeze-and-excite makes of it, and an average."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.hard = nn.Hardsigmoid()
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, images):
        maps = self.first(images)
        return [self.last(self.hard(self.gate(self.average(maps))) * maps)]


def test_a_product_ties_its_factors_and_is_zero_where_one_is():
    torch.manual_seed(0)
    net: Any = make_masked(Gate()).eval()
    with torch.no_grad():
        for layer in (net.first, net.gate):
            layer.mask[:2] = False
        net.first.bias[:2] = 0  # the gate of these two is half open, and nothing comes through
    small = compact(net).network
    assert (small.first.out_channels, small.gate.in_channels, small.gate.out_channels) == (4, 4, 4)
    with torch.no_grad():
        net.first.bias[1] = 0.5
    assert compact(net).network.first.out_channels == 5


class Twice(Small):
    """A layer that stands under two names."""

    def __init__(self) -> None:
        super().__init__(num_classes=2, width=8)
        self.first = self.again = nn.Conv2d(8, 8, 1)

    def forward(self, images):
        return [self.head(self.middle(self.first(self.entry(images))))]


def test_a_layer_under_two_names():
    net: Any = make_masked(Twice())
    with torch.no_grad():
        net.first.mask[:3] = False
        net.first.bias[:3] = 0
    small = compact(net).network
    assert small.first.out_channels == 5
    assert small.again is small.first


class Gated(Small):
    """Multiplies all channels by one."""

    def __init__(self) -> None:
        super().__init__(num_classes=2, width=8)
        self.gate = nn.Sequential(nn.Conv2d(8, 1, 1), nn.Sigmoid())

    def forward(self, images):
        maps = self.entry(images)
        return [self.head(self.middle(self.gate(maps) * maps))]


def test_unequal_numbers_of_channels_in_a_product():
    net = make_masked(Gated())
    with pytest.raises(InputError, match="compaction: expected maps with equally many channels at mul, got 1 and 8"):
        layout(net)
    assert layout(net, channels=False).layers.keys() == {name for name, _ in masked_layers(net)}


def test_the_second_stage_counts_by_its_proposals():
    """Not by what a network finds, which differs from one set of weights to another."""
    counts = {count_flops(family("faster_rcnn", seed=seed), 64) for seed in range(3)}
    assert len(counts) == 1
    net = family("faster_rcnn")
    per_proposal = 2 * sum(layer.weight.numel() for layer in net.roi_heads.modules() if isinstance(layer, nn.Linear))
    assert counts.pop() > 1000 * per_proposal


def test_a_network_of_a_users_own_opens_for_who_makes_it_whole(tmp_path):
    net: Any = make_masked(Small(num_classes=2, width=8))
    with torch.no_grad():
        net.entry.mask[:3] = False
        net.entry.bias[:3] = 0
    small = compact(net).network
    assert type(small) is Small
    assert small.entry.out_channels == 5
    save_compact(tmp_path, small, {})
    with pytest.raises(InputError, match=r"expected a network of hydra_det's own classes, got one of tests\..*\.Small"):
        load_compact(tmp_path)
    read, _ = load_compact(tmp_path, make=lambda: Small(num_classes=2, width=8))
    assert read.entry.out_channels == 5
    torch.testing.assert_close(read.state_dict(), small.state_dict(), rtol=0, atol=0)


def test_a_description_that_does_not_fit_its_tensors(tmp_path):
    net = compact(pruned("ssdlite")).network
    save_compact(tmp_path, net, {})
    file = tmp_path / ARCHITECTURE
    whole = json.loads(file.read_text())
    for change, message in (
        ({"family": "yolov9"}, r"expected a whole description, got one that builds no network \(KeyError"),
        ({"detector": {**whole["detector"], "num_classes": 10**9}}, "builds no network|expected"),
        ({"detector": {**whole["detector"], "num_classes": 7}}, "expected"),
        ({"detector": {**whole["detector"], "odd": 1}}, r"builds no network \(TypeError"),
    ):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match=message):
            load_compact(tmp_path)
    file.write_text(json.dumps(whole))
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError, match="found none"):
        load_compact(tmp_path)
