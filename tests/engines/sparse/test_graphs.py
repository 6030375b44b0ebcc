"""Single operations, and orders of operations that the networks of the package do not have."""

import pytest
import torch
from torch import nn

pytest.importorskip("numba")

from hydra_det.engines.sparse.engine import Sparse
from hydra_det.modules.graph import IMAGES, Add, Concat, Slice
from hydra_det.types import InputError
from tests.engines.sparse.example import detector, equal, images

BENDS = [nn.LeakyReLU(0.1), nn.ReLU(), nn.Mish(), nn.SiLU(), nn.Sigmoid()]


def conv(inputs=3, outputs=8, side=3, **settings):
    made = nn.Conv2d(inputs, outputs, side, **{"padding": side // 2, **settings})
    nn.init.normal_(made.weight)
    return made


@pytest.mark.parametrize("left", ["nothing", "one", "all"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_few_and_many_nonzeros(left, stride, side):
    layer = conv(side=side, stride=stride)
    kept = torch.zeros_like(layer.weight)
    kept[7, 1, 0, side // 2] = 1
    with torch.no_grad():
        layer.weight *= {"nothing": 0, "one": kept, "all": 1}[left]
    net = detector(
        ("conv", layer, [IMAGES]), ("norm", nn.BatchNorm2d(8), ["conv"]), ("bend", nn.LeakyReLU(0.1), ["norm"])
    )
    for size in ((1, 1), (1, 7), (7, 1), (5, 6), (33, 47)):
        assert equal(net, Sparse(net, threads=2), images(1, size))


@pytest.mark.parametrize("rows", [1, 7, 8, 30])
def test_whole_kernels(rows):
    layer = conv(24, 8)
    with torch.no_grad():
        layer.weight *= torch.rand(8, 24, 1, 1) < 0.3
    net = detector(("first", conv(outputs=24), [IMAGES]), ("second", layer, ["first"]))
    made = Sparse(net, threads=2, tuned=False)
    assert equal(net, made, images(size=(rows, 20)))
    assert made._program((rows, 20))[0].tables.kernel_weights.size == 9 * (
        24 * 3 + int((layer.weight[:, :, 1, 1] != 0).sum())
    )


@pytest.mark.parametrize(
    "shape", [{"dilation": 2, "padding": 2}, {"stride": (2, 1)}, {"kernel_size": (1, 3), "padding": (0, 1)}]
)
def test_convolutions_of_other_shapes_are_torchs(shape):
    net = detector(("conv", nn.Conv2d(3, 8, **{"kernel_size": 3, "padding": 1, **shape}), [IMAGES]))
    made = Sparse(net, threads=1)
    assert equal(net, made, images(size=(64, 96)))
    assert len(made._program((64, 96))[0].dense) == 1


@pytest.mark.parametrize("bend", BENDS, ids=lambda bend: type(bend).__name__)
def test_activations_behind_a_convolution_and_alone(bend):
    net = detector(("conv", conv(), [IMAGES]), ("one", bend, ["conv"]), ("other", bend, ["one"]))
    assert equal(net, Sparse(net, threads=1), images() - 0.5)


def test_batch_norm_alone():
    net = detector(("conv", conv(), [IMAGES]), ("bend", nn.ReLU(), ["conv"]), ("norm", nn.BatchNorm2d(8), ["bend"]))
    assert equal(net, Sparse(net, threads=1), images())


@pytest.mark.parametrize("first", ["left", "right"])
def test_a_sum_of_two_convolutions_of_which_one_comes_later(first):
    order = ["left", "right"] if first == "left" else ["right", "left"]
    net = detector(*((name, conv(), [IMAGES]) for name in order), ("sum", Add(), ["left", "right"]))
    assert equal(net, Sparse(net, threads=2), images())


def test_a_value_that_is_added_to_itself():
    net = detector(("conv", conv(), [IMAGES]), ("sum", Add(), ["conv", "conv"]))
    assert equal(net, Sparse(net, threads=2), images())


def test_a_value_in_two_concatenations():
    """It has one place, so the second one has a copy."""
    net = detector(
        ("a", conv(outputs=4), [IMAGES]), ("b", conv(outputs=5), [IMAGES]), ("one", Concat(), ["a", "b"]),
        ("c", conv(9, 3), ["one"]), ("two", Concat(), ["c", "b", "a", "a"]), ("end", conv(16), ["two"]),
    )  # fmt: skip
    assert equal(net, Sparse(net, threads=2), images())


def test_a_part_of_a_map():
    net = detector(
        ("a", conv(outputs=9), [IMAGES]), ("part", Slice(2, 7), ["a"]), ("b", conv(5), ["part"]),
        ("rest", Slice(0, 8), ["a"]), ("sum", Add(), ["b", "rest"]),
    )  # fmt: skip
    assert equal(net, Sparse(net, threads=2), images())


@pytest.mark.parametrize("pool", [(2, 2, 0), (2, 1, 0), (3, 1, 1), (5, 1, 2), (3, 2, 1)])
def test_pools(pool):
    side, stride, padding = pool
    net = detector(("conv", conv(), [IMAGES]), ("pool", nn.MaxPool2d(side, stride, padding), ["conv"]))
    for size in ((9, 12), (33, 47)):
        assert equal(net, Sparse(net, threads=2), images(size=size) - 2)


BEHIND = {"one": [("c", conv(8, side=1), ["pad"])], "three": [("c", conv(8), ["pad"])],
          "halves": [("c", conv(8, stride=2), ["pad"])], "none": [],
          "sum": [("sum", Add(), ["a", "pad"]), ("c", conv(8), ["sum"]), ("d", conv(8), ["c"])]}  # fmt: skip


@pytest.mark.parametrize("behind", BEHIND)
def test_padding_keeps_its_value_and_nothing_else_gets_it(behind):
    """The map has the size of one that is no longer needed, whose memory must not be taken for it."""
    net = detector(
        ("a", conv(), [IMAGES]), ("pool", nn.MaxPool2d(2, 1), ["a"]), ("b", conv(8), ["pool"]),
        ("pad", nn.ConstantPad2d((0, 1, 0, 1), -5.0), ["b"]), *BEHIND[behind],
    )  # fmt: skip
    made = Sparse(net, threads=1)
    for seed in range(2):
        assert equal(net, made, images(size=(9, 9), seed=seed))


def test_upsampling():
    net = detector(("conv", conv(stride=2), [IMAGES]), ("up", nn.Upsample(scale_factor=3), ["conv"]))
    assert equal(net, Sparse(net, threads=2), images(size=(10, 14)))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Upsample(scale_factor=1.5), "upsampling by 1.5 at last"),
        (nn.ConstantPad2d((0, -1, 0, 0), 0.0), r"the padding \(0, -1, 0, 0\) at last"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "upsampling that is bilinear at last"),
        (nn.LeakyReLU(-0.1), "a negative_slope of -0.1 at last"),
    ],
)
def test_what_the_engine_lacks_is_named(module, said):
    net = detector(("conv", conv(), [IMAGES]), ("last", module, ["conv"]))
    with pytest.raises(InputError, match=f"engine sparse: expected what it has .*, got {said}; take another engine"):
        Sparse(net, threads=1)


def test_an_unknown_operation_is_named():
    net = detector(("conv", conv(), [IMAGES]), ("up", nn.Upsample(scale_factor=2), ["conv"]))
    net.graph.nodes[1] = net.graph.nodes[1]._replace(operation="attention")
    with pytest.raises(InputError, match="got attention at up; take another engine"):
        Sparse(net, threads=1)
