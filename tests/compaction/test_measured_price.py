"""Prices of layers: every shape is timed once, and a smaller layer is never dearer."""

from typing import Any

import pytest

from hydra_det.compaction import measured_price as module
from hydra_det.compaction.channels import layout
from hydra_det.compaction.measured_price import SHARES, measure, price_of
from hydra_det.modules.masked_conv import make_masked
from tests.modules.example import network


def test_interpolates_what_was_timed(monkeypatch):
    asked = []

    def milliseconds(layer, weight, size):
        asked.append((tuple(weight.shape), size))
        return weight.shape[0] * weight.shape[1] / 7.0  # of filters and inputs

    monkeypatch.setattr(module, "_milliseconds", milliseconds)
    net = make_masked(network("yolov3"))
    price = price_of(measure(net, layout(net), image_size=96), layout(net))
    shapes = {(m.weight.shape, m.stride) for m in net.modules() if hasattr(m, "scores")}
    assert len(asked) >= len(shapes) * len(SHARES) ** 2
    assert len(asked) < 39 * len(SHARES) ** 2, "equal layers are timed once"
    assert ((128, 64, 3, 3), (3, 3)) in asked
    # Linear in filters and in inputs, as what was timed.
    for filters, inputs in ((128, 64), (64, 32), (50, 20), (1, 1)):
        assert price("necks.0.1.conv", filters, inputs) == pytest.approx(filters * inputs / 7.0)
    assert price("necks.0.1.conv", 0, 64) == 0


def test_noise_does_not_make_less_cost_more(monkeypatch):
    times = iter([9.0, 1.0] * 10_000)
    monkeypatch.setattr(module, "_milliseconds", lambda *_: next(times))
    net = make_masked(network("yolov3_tiny"))
    price = price_of(measure(net, layout(net), image_size=64), layout(net))
    rising = [price("neck.conv", 32 * share, 128 * share) for share in (0.1, 0.2, 0.4, 0.7, 1.0)]
    assert rising == sorted(rising)


def test_of_groups_whole_groups_are_timed(monkeypatch):
    """By hand: 32 groups of two inputs and three filters; an eighth of them is four groups."""
    asked = []

    def conv2d(images, weight, *, groups, **_):
        asked.append((images.shape[1], tuple(weight.shape), groups))

    monkeypatch.setattr(module.F, "conv2d", conv2d)
    net = make_masked(network("darknet_varied"))
    layer: Any = net.get_submodule("layers.9.conv")
    assert (layer.in_channels, layer.out_channels, layer.groups) == (64, 96, 32)
    module._table(layer, (4, 4))
    wanted = [(2 * count, (3 * count, 2, 3, 3), count) for count in (4, 8, 16, 24, 32)]
    assert list(dict.fromkeys(asked)) == wanted


@pytest.mark.parametrize("name", ["yolov3_tiny", "darknet_depthwise", "darknet_varied"])
def test_real_times_are_positive(name):
    net = make_masked(network(name))
    price = price_of(measure(net, layout(net), image_size=64), layout(net))
    assert all(price(name, *layer.shape[:2]) > 0 for name, layer in layout(net).layers.items())
