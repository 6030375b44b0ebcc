"""Each target counts the raw outputs that it says; each reference is the image that it says."""

import functools

import pytest
import torch

from hydra_det.boxes import Letterbox
from hydra_det.init.references import REFERENCES
from hydra_det.init.targets import TARGETS, assigned, loss, topk
from hydra_det.modules.yolo.loss import LossSettings, assign
from hydra_det.types import Batch, InputError
from tests.init.example import answering
from tests.modules.example import NETWORKS, batch, target


@pytest.fixture
def maps():
    net, made = answering(), batch()
    with torch.no_grad():
        return net, made, net(made["images"]), net(torch.full_like(made["images"][:1], 0.5))


@pytest.mark.parametrize("name", NETWORKS)
def test_assigned_is_objectness_and_true_class_of_the_assigned_anchors(name):
    net, made = answering(name), batch()
    with torch.no_grad():
        raw = net(made["images"])
    anchors = list(net.anchors)
    pairs = assign(raw, made["targets"], anchors=anchors, strides=net.strides, anchor_iou=0.4)
    assert sum(len(level.image) for level in pairs) >= 3
    for counts, level, answers in zip(assigned(net, made["targets"], raw, []), pairs, raw, strict=True):
        expected = torch.zeros_like(answers)
        for image, anchor, row, column, label in zip(*level.cells, level.labels, strict=True):
            expected[image, anchor, row, column, 4] += 1
            expected[image, anchor, row, column, 5 + label] += 1
        assert torch.equal(counts, expected)


def test_topk_is_the_largest_objectness_logits(maps):
    net, made, raw, reference = maps
    counts = topk(net, made["targets"], raw, reference, k=7)
    for image in range(2):
        chosen = torch.cat([level[image, ..., 4].flatten() for level in counts])
        logits = torch.cat([level[image, ..., 4].flatten() for level in raw])
        assert chosen.sum() == 7
        assert logits[chosen == 1].min() > logits[chosen == 0].max()
    assert sum(level.sum() for level in counts) == 14
    everything = topk(net, made["targets"], raw, reference, k=10**6)
    assert all((level[..., 4] == 1).all() for level in everything)


def test_loss_sums_to_the_difference_of_the_loss(maps):
    net, made, raw, reference = maps
    net.loss_settings = LossSettings(box_loss="mse", ignore_iou=1.0)  # neither jumps nor parts without a gradient
    counts = loss(net, made["targets"], raw, reference)
    summed = sum(
        (count * (here - there)).flatten(1).sum(1) for count, here, there in zip(counts, raw, reference, strict=True)
    )
    alike = [level.expand_as(here) for level, here in zip(reference, raw, strict=True)]
    expected = net.losses(raw, made["targets"]).total - net.losses(alike, made["targets"]).total
    torch.testing.assert_close(summed, expected, rtol=0.01, atol=0.01)
    slope = functools.partial(net.losses, targets=made["targets"])
    at_the_end = [level.clone().requires_grad_() for level in raw]
    gradients = torch.autograd.grad(slope(at_the_end).total.sum(), at_the_end)
    wrong = sum((g * (a - b)).flatten(1).sum(1) for g, a, b in zip(gradients, raw, reference, strict=True))
    assert ((wrong - expected).abs() > 5 * (summed - expected).abs()).all(), "the gradient at the end does not do it"


def test_an_image_without_objects_counts_nothing_for_assigned(maps):
    net, _, raw, reference = maps
    empty = [target([], []), target([], [])]
    assert not any(level.any() for level in assigned(net, empty, raw, reference))
    assert any(level.any() for level in loss(net, empty, raw, reference))
    assert TARGETS.keys() == {"assigned", "topk", "loss"}


def test_references():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64)
    letterbox = Letterbox(64, 32, 64)  # 16 rows of padding above and below
    images[:, :, :16] = images[:, :, 48:] = 0.5
    made = Batch(images=images, targets=[target([], [], letterbox=letterbox) for _ in range(2)])
    before = torch.rand(2, 3, 64, 64)
    found = {name: make([made, made], images.device)(images, before) for name, make in REFERENCES.items()}
    assert torch.equal(found["clean"], before)
    assert torch.equal(found["zeros"], torch.zeros(1, 3, 64, 64))
    assert torch.equal(found["padding"], images[:1, :, :1, :1].expand(1, 3, 64, 64))
    colour = images[:, :, 16:48].mean((0, 2, 3))
    torch.testing.assert_close(found["mean"], colour.view(1, 3, 1, 1).expand(1, 3, 64, 64))
    assert found["blur"].shape == images.shape
    torch.testing.assert_close(found["blur"].mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)
    assert found["blur"][:, :, 24:40].std() < 0.2 * images[:, :, 24:40].std()


@pytest.mark.parametrize("name", ["assigned", "topk"])
def test_a_network_that_cannot_say_it_is_named(name):
    with pytest.raises(InputError, match=r"init\.target: expected a network with a method .*, got Linear; use init"):
        TARGETS[name](torch.nn.Linear(1, 1), [], [], [])
