"""The architectures: published parameter counts, shapes, memory formats and number types."""

import pytest
import torch
from torch import nn

from hydra_det.modules.yolo.yolov3 import YOLOv3, YOLOv3SPP, YOLOv3Tiny
from hydra_det.types import InputError
from tests.modules.example import CLASSES, NETWORKS, SIZE, STRIDES, batch, network


@pytest.mark.parametrize(
    ("build", "parameters", "floats"),
    [
        (YOLOv3, 61_949_149, 62_001_757),
        (YOLOv3Tiny, 8_852_366, 8_858_734),
        (YOLOv3SPP, 62_998_749, 63_052_381),
    ],
)
def test_published_sizes(build, parameters, floats):
    with torch.device("meta"):
        net = build(num_classes=80)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    # What a Darknet file holds: running means and variances besides, no counters.
    assert sum(tensor.numel() for tensor in net.state_dict().values() if tensor.is_floating_point()) == floats


def test_yolov3_has_75_convolutions():
    with torch.device("meta"):
        net = YOLOv3(num_classes=80)
    kernels = [module.kernel_size for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert (len(kernels), kernels.count((1, 1))) == (75, 37)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_activation_is_used_once(name):
    net, calls = network(name).eval(), []
    activations = [module for module in net.modules() if isinstance(module, nn.LeakyReLU)]
    for activation in activations:
        activation.register_forward_hook(lambda module, *_: calls.append(id(module)))
    net(torch.rand(1, 3, SIZE, SIZE))
    assert sorted(calls) == sorted(id(activation) for activation in activations)


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_maps_in_train_and_eval_mode(name):
    net = network(name)
    for height, width in ((64, 64), (64, 96)):
        expected = [(2, 3, height // s, width // s, 5 + CLASSES) for s in STRIDES[name]]
        for mode in (True, False):
            raw = net.train(mode)(torch.rand(2, 3, height, width))
            assert isinstance(raw, list)
            assert [tuple(level.shape) for level in raw] == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_is_the_same_network(name):
    net = network(name).eval()
    images = batch()["images"]
    with torch.no_grad():
        plain = net(images)
        other = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert max(level[..., :4].std() for level in plain) > 0.01
    for left, right in zip(plain, other, strict=True):
        torch.testing.assert_close(right, left, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_autocast(name):
    net, made = network(name).eval(), batch()
    plain = net(made["images"])
    with torch.autocast("cpu", torch.bfloat16):
        raw = net(made["images"])
        terms, found = net.losses(raw, made["targets"]), net.detections(raw)
    assert all(level.dtype == torch.bfloat16 for level in raw)
    for level, exact in zip(raw, plain, strict=True):
        assert (level.float() - exact).norm() < 0.05 * exact.norm()
    assert all(term.dtype == torch.float32 and term.isfinite().all() for term in terms.values())
    assert all(f.boxes.dtype == f.confidences.dtype == torch.float32 for f in found)
    terms.total.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_images_do_not_mix_in_eval_mode(name):
    net, images = network(name).eval(), batch()["images"]
    with torch.no_grad():
        together, alone = net(images), net(images[1:])
    for left, right in zip(together, alone, strict=True):
        torch.testing.assert_close(left[1:], right, atol=1e-5, rtol=1e-4)


def test_fine_maps_have_the_small_anchors():
    net = YOLOv3(num_classes=1, width=0.125, depth=0.125)
    assert net.anchors.tolist() == [
        [[116, 90], [156, 198], [373, 326]],
        [[30, 61], [62, 45], [59, 119]],
        [[10, 13], [16, 30], [33, 23]],
    ]
    assert net.strides == [32, 16, 8]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"num_classes": 0}, "num_classes"), ({"num_classes": 1, "anchors": [(1, 1)] * 8}, "multiple of 3 pairs, got 8")],
)
def test_wrong_arguments_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        YOLOv3(**arguments, width=0.125, depth=0.125)
