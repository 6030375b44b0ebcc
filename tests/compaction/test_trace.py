"""A traced network computes what the original does; what cannot be followed is refused by name."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hydra_det.compaction.channels import channel_ids, cut_off, layout, silenced
from hydra_det.compaction.sizes import map_sizes
from hydra_det.compaction.trace import can_be_rebuilt, trace
from hydra_det.modules.graph import Graph, GraphDetector, Node
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.types import InputError
from tests.modules.example import ARCHITECTURES, STRIDES, network


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_graph_rebuilds_its_network_bit_by_bit(name, masked):
    net = network(name).eval()
    graph = trace(make_masked(net) if masked else net)
    made = GraphDetector(
        graph, num_classes=2, anchors=net.anchors.flip(0).reshape(-1, 2).tolist(), strides=STRIDES[name]
    )
    state = {key: value for key, value in net.state_dict().items() if not key.endswith((".mask", ".scores"))}
    made.load_state_dict(state)
    sample = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for wanted, got in zip(net(sample), made.eval()(sample), strict=True):
            assert torch.equal(wanted, got)
    assert torch.equal(made.anchors, net.anchors)
    assert trace(made) == graph


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_memory_is_given_back_on_the_way(name):
    graph = trace(network(name))
    made = GraphDetector(graph, num_classes=2, anchors=[(1, 1)] * 3 * len(STRIDES[name]), strides=STRIDES[name])
    freed = [value for values in made._spent.values() for value in values]
    assert sorted(freed) == sorted({name for node in graph.nodes for name in node.inputs})


def chain(*layers: nn.Module) -> nn.Module:
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers)

        def forward(self, images):
            return [self.layers(images)]

    return Chain()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return [self.conv(self.conv(images))]


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.shift = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, images):
        return [self.conv(images) + self.shift]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return [self.conv(images)] if images.sum() > 0 else []


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.function = function

    def forward(self, images):
        return [self.function(self.conv(images))]


class Answering(nn.Module):
    """Gives whatever is made of its only map."""

    def __init__(self, answer):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.answer = answer

    def forward(self, images):
        return self.answer(self.conv(images))


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return [self.conv(input=images)]


@pytest.mark.parametrize("answer", [
    lambda maps: maps, lambda maps: {"raw": maps}, lambda maps: [[maps]], lambda maps: (maps, {"none": None}),
])  # fmt: skip
def test_raw_maps_of_any_make(answer):
    assert trace(Answering(answer)).outputs == ["conv"]


@pytest.mark.parametrize("average", [
    lambda maps: maps.mean((2, 3), keepdim=True), lambda maps: maps.mean(dim=[-2, -1], keepdim=True),
    lambda maps: torch.mean(maps, (3, 2), True),
])  # fmt: skip
def test_a_mean_of_all_places_is_followed(average):
    graph = trace(Answering(lambda maps: maps * average(maps)))
    assert [node.operation for node in graph.nodes] == ["conv", "average", "multiply"]


@pytest.mark.parametrize("average", [
    lambda maps: maps.mean((2, 3)), lambda maps: maps.mean((1, 2), keepdim=True), lambda maps: maps.mean(),
    lambda maps: torch.mean(maps, (2, 3), True, dtype=torch.float64),
])  # fmt: skip
def test_other_means_are_not(average):
    with pytest.raises(InputError, match="got mean at mean"):
        trace(Answering(average))


def test_raw_maps_keep_their_order():
    net = Answering(lambda maps: {"b": maps + maps, "a": (maps, maps * maps)})
    assert trace(net).outputs == ["add", "conv", "mul"]


OTHER = "a forward that returns something else than raw maps"


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        (Answering(lambda maps: [maps, maps.shape]), OTHER),
        (Answering(lambda maps: [maps.nothing]), "expected convolutions"),
        (Answering(lambda maps: maps.size(0) and [maps]), "got Answering (TraceError: "),
        (Named(), "a call of conv with keywords"),
        (Functional(lambda maps: torch.add(maps, maps, alpha=2)), "got add at add"),
        (chain(nn.Upsample(size=(8, 8))), "an upsampling by nearest to (8, 8) at layers.1"),
        (chain(nn.Tanh()), "got Tanh at layers.1"),
        (chain(nn.InstanceNorm2d(4)), "got InstanceNorm2d at layers.1"),
        (chain(nn.AdaptiveAvgPool2d(2)), "an average to 2 at layers.1"),
        (
            Functional(lambda maps: F.interpolate(maps, scale_factor=2, mode="bilinear")),
            "got interpolate at interpolate",
        ),
        (Functional(lambda maps: maps[:, :2]), "got getitem at getitem"),
        (Functional(lambda maps: maps.flatten(1)), "got flatten at flatten"),
        (
            chain(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
            "one with a padding other than zeros at layers.1",
        ),
        (chain(nn.BatchNorm2d(4, affine=False)), "a BatchNorm without scale or statistics at layers.1"),
        (chain(nn.Upsample(scale_factor=2, mode="bilinear")), "an upsampling by bilinear to a multiple at layers.1"),
        (Branching(), "expected a network whose forward is the same for every image, got Branching"),
        (Functional(torch.sigmoid), "got sigmoid at sigmoid"),
        (Functional(lambda maps: maps + 1), "got add at add"),
        (Biased(), "got add at add"),
        (Functional(lambda maps: torch.cat([maps, maps], dim=2)), "got cat at cat"),
        (Functional(lambda maps: F.pad(maps, (1, 1, 1, 1), mode="reflect")), "got pad at pad"),
        (Functional(lambda maps: maps.mean(dim=1)), "got mean at mean"),
    ],
)
def test_what_cannot_be_followed_is_named(net, complaint):
    with pytest.raises(InputError, match="compaction: ") as caught:
        trace(net)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_followed_and_not_rebuilt():
    for net, operation in (
        (chain(nn.GroupNorm(2, 4)), "group_norm"),
        (chain(nn.MaxPool2d(2, ceil_mode=True)), "odd_pool"),
        (chain(nn.MaxPool2d(3, 1, dilation=2)), "odd_pool"),
        (chain(nn.AdaptiveAvgPool2d(1)), "average"),
        (Functional(lambda maps: F.max_pool2d(maps, 1, 2)), "odd_pool"),
        (Functional(lambda maps: F.interpolate(maps, size=maps.shape[-2:])), "resize"),
        (Functional(lambda maps: maps * maps), "multiply"),
        (Functional(lambda maps: maps * 2), "scale"),
    ):
        graph = trace(net)
        assert graph.nodes[-1].operation == operation
        assert graph.nodes[-1].inputs[0] == graph.nodes[0].name
        assert not can_be_rebuilt(graph)
    twice = trace(Twice())
    assert [(node.name, node.layer) for node in twice.nodes] == [("conv", "conv"), ("conv_1", "conv")]
    assert not can_be_rebuilt(twice)
    assert can_be_rebuilt(trace(network("yolov3")))


def test_channels_of_sums_and_concatenations():
    """By hand: a sum ties, a concatenation lists, a pyramid repeats."""
    graph = trace(network("yolov3_spp"))
    ids = channel_ids(graph)
    stage = [ids[f"backbone.stages.2.{part}"].tolist() for part in ("0.conv", "1.expand.conv")]
    assert stage[0] == stage[1]
    assert set(ids["backbone.stages.2.1.reduce.conv"]).isdisjoint(stage[0])
    (pyramid,) = (node for node in graph.nodes if node.operation == "concat" and len(node.inputs) == 4)
    assert ids[pyramid.name].tolist() == ids["necks.0.2.conv"].tolist() * 4
    (first, *_) = (node for node in graph.nodes if node.operation == "concat" and len(node.inputs) == 2)
    assert ids[first.name].tolist() == [*ids["ups.0.0.conv"].tolist(), *ids["backbone.stages.3.0.conv"].tolist()]
    written = {channel for node in graph.nodes for channel in ids[node.name].tolist()}
    assert sorted(written | {0, 1, 2}) == list(range(len(written) + 3))


def test_channels_are_numbered_by_the_oldest_of_those_that_are_one():
    """By hand: `c` is tied to `a` directly, `d` to `b` by way of `e`, and `f` comes after all of them."""
    made = {"a": "images", "b": "a", "c": "b", "d": "c", "e": "d", "f": "e"}
    nodes = [Node(name, "conv", (source,), {"out_channels": 2}) for name, source in made.items()]
    nodes += [Node(f"{one}{other}", "add", (one, other), {}) for one, other in ("ca", "ed", "be")]
    ids = channel_ids(Graph(nodes, []))
    assert {name: channels.tolist() for name, channels in ids.items()} == {
        "images": [0, 1, 2], "a": [3, 4], "b": [5, 6], "c": [3, 4], "d": [5, 6], "e": [5, 6], "f": [7, 8],
        "ca": [3, 4], "ed": [5, 6], "be": [5, 6],
    }  # fmt: skip


# A logistic activation makes 0.5 of zero.
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "darknet_varied"])
def test_a_channel_is_all_that_depends_on_it(name):
    """Making a channel of a group zero everywhere is the same as never reading it."""
    net = make_masked(network(name)).eval()
    found = layout(net)
    layers = dict(masked_layers(net))
    sample = torch.rand(1, 3, 64, 64)
    for group, channels in list(found.groups().items())[::3]:
        channel = int(channels[len(channels) // 2])
        unread, unwritten = (make_masked(network(name)).eval() for _ in range(2))
        for key, layer in found.layers.items():
            mask = dict(masked_layers(unread))[key].mask
            if layer.groups == 1:
                mask[:, layer.reads == channel] = False
            else:  # every filter reads one channel
                mask[layer.reads == channel] = False
            rows = layer.writes == channel
            dict(masked_layers(unwritten))[key].mask[rows] = False
            if rows.any():
                norm: Any = unwritten.get_submodule(f"{key.removesuffix('.conv')}.norm")
                norm.weight.data[rows], norm.bias.data[rows] = 0, 0
        with torch.no_grad():
            for a, b in zip(unread(sample), unwritten(sample), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=f"{group} of {len(layers)} layers")


def test_norms_over_processes_are_norms():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(network("yolov3"))
    assert trace(net) == trace(network("yolov3"))


def test_sizes_of_maps():
    sizes = map_sizes(network("yolov3"), 64)
    assert sizes["backbone.stem.conv"] == ((64, 64), (64, 64))
    assert sizes["backbone.stages.0.0.conv"] == ((64, 64), (32, 32))
    assert sizes["heads.0"] == ((2, 2), (2, 2))
    assert sizes["heads.2"] == ((8, 8), (8, 8))


def test_silence_spreads():
    """A channel that hears only silent ones is silent; a bias or another term of a sum makes it heard."""
    net = make_masked(network("yolov3"))
    layers = dict(masked_layers(net))
    layers["necks.0.0.conv"].mask[3] = False
    layers["necks.0.1.conv"].mask[5] = False
    layers["necks.0.1.conv"].mask[5, 3] = True  # reads the silent one alone
    layers["backbone.stages.2.1.expand.conv"].mask[7] = False
    quiet = silenced(net)
    assert quiet["necks.0.0.norm"].nonzero()[0].tolist() == [3]
    assert quiet["necks.0.1.norm"].nonzero()[0].tolist() == [5]
    assert quiet["backbone.stages.2.1.expand.norm"].nonzero()[0].tolist() == [7]
    assert sum(int(flags.sum()) for flags in quiet.values()) == 3
    assert cut_off(net) == []


@pytest.mark.parametrize(
    ("layer", "cut"),
    [("outs.1.conv", ["heads.1"]), ("heads.2", ["heads.2"]), ("backbone.stem.conv", ["heads.0", "heads.1", "heads.2"])],
)
def test_raw_maps_without_a_way_from_the_image_are_named(layer, cut):
    net = make_masked(network("yolov3"))
    dict(masked_layers(net))[layer].mask.zero_()
    assert cut_off(net) == cut
