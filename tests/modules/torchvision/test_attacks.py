"""What attacks see of torchvision's families: every objective has a gradient, and every step the same draw."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.hardening.attacked_images import attack, losses_of
from hydra_det.modules.torchvision.sampling import Sampler
from hydra_det.types import InputError, Target
from tests.modules.torchvision.example import NAMES, family, pictures, targets


def empty(name: str) -> list[Target]:
    """The targets of the family's images without their objects."""
    return [{**target, "boxes": target["boxes"][:0], "labels": target["labels"][:0]} for target in targets(name)]


def slope(net: Any, images: Tensor, given: list[Target], objective: str) -> Tensor:
    """How an objective changes with the pixels. [B]: the largest size in each image"""
    pixels = images.clone().requires_grad_()
    value = losses_of(net, given)[objective](pixels)
    (found,) = torch.autograd.grad(value.sum(), pixels)
    assert found.isfinite().all()
    return found.abs().amax((1, 2, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objective", ["total", "box", "classification", "vanishing", "fabrication", "mislabelling"])
def test_every_objective_can_be_followed(name, objective):
    assert (slope(family(name), pictures(name), targets(name), objective) > 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objective", ["total", "classification", "fabrication"])
def test_an_image_without_objects_can_be_attacked(name, objective):
    net, images = family(name), pictures(name)
    assert (slope(net, images, empty(name), objective) > 1e-9).all()
    if objective == "total":
        moved = attack(net, images, empty(name), PGD(epsilon=0.03, step_size=0.01, steps=2, random_start=False))
        assert (moved - images).abs().amax() > 0.009


def test_ssd_weighs_an_image_without_objects_like_one_object():
    """Not more for being large: the classes of its hardest boxes, three times their mean."""
    net, images = family("ssdlite"), pictures("ssdlite")
    with torch.no_grad():
        raw = net(images)
        lost = net.losses(raw, empty("ssdlite"))
        background = net._outputs(raw)["cls_logits"].log_softmax(-1)[..., 0]
    hardest = -background.sort(dim=1).values[:, :100]
    torch.testing.assert_close(lost["classification"], 3 * hardest.mean(1))
    assert not lost["box"].any()


def test_confidences_of_fcos_have_a_gradient_where_they_are_next_to_nothing():
    net = family("fcos")
    raw = [torch.full_like(maps, -70).requires_grad_() for maps in net(pictures("fcos")).copy()]
    net.decode(raw).confidences.sum().backward()
    assert all(maps.grad is None or maps.grad.isfinite().all() for maps in raw)


def test_the_losses_of_faster_rcnn_follow_from_the_objects():
    net = family("faster_rcnn").train()
    net.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    images, given = pictures("faster_rcnn"), targets("faster_rcnn")
    with torch.no_grad():
        raw = net(images)
        before = torch.random.get_rng_state()
        first = net.losses(raw, given)
        assert torch.equal(torch.random.get_rng_state(), before), "nobody else's draws change"
        torch.rand(3)
        second = net.losses(raw, given)
        assert all(torch.equal(first[term], second[term]) for term in first)
        assert net.rpn.training, "the parts are in the mode they were in"
        moved = copy.deepcopy(given)
        moved[0]["boxes"] += 1e-3  # matches the same, and is another draw
        third = net.losses(raw, moved)
    assert abs(third["classification"][0] - first["classification"][0]) > 1e-4
    assert torch.equal(third["classification"][1], first["classification"][1])


def seen_anchors(net: Any, images: Tensor, given: list[Target]) -> Tensor:
    """Which anchors the objectness loss looks at. [B, N] bool"""
    levels = len(net.levels)
    raw = [maps.detach().requires_grad_() for maps in net(images)]
    found = torch.autograd.grad(net.losses(raw, given)["objectness"].sum(), raw, allow_unused=True)
    slopes = [slope for slope in found[levels : 2 * levels] if slope is not None]
    return torch.cat([slope.flatten(1) != 0 for slope in slopes], dim=1)


def test_every_step_of_an_attack_meets_the_same_anchors():
    net, given = family("faster_rcnn"), targets("faster_rcnn")
    net.rpn.fg_bg_sampler.batch_size_per_image = 32
    images = pictures("faster_rcnn")
    before = seen_anchors(net, images, given)
    after = seen_anchors(net, (images + 8 / 255).clamp(max=1), given)
    assert torch.equal(before, after)
    assert 0 < before[0].sum() <= 32
    assert not torch.equal(before[0], before[1]), "each image has a draw of its own"


def test_of_an_image_without_objects_every_anchor_counts():
    net = family("faster_rcnn")
    net.rpn.fg_bg_sampler.batch_size_per_image = 32
    assert seen_anchors(net, pictures("faster_rcnn"), empty("faster_rcnn")).all()


def test_a_draw():
    labels = torch.tensor([0, 1, 2, -1, 0, 0, 3, 0, -1, 0])
    sampler = Sampler(4, 0.5, without_objects=3)
    sampler.seed = 7
    ((positive,), (negative,)) = sampler([labels])
    assert positive.sum() == negative.sum() == 2
    assert (labels[positive] >= 1).all()
    assert (labels[negative] == 0).all()
    assert torch.equal(sampler([labels])[0][0], positive)
    drawn = set()
    for sampler.seed in range(20):
        ((positive,), (negative,)) = sampler([labels])
        drawn.add((*positive.nonzero()[:, 0].tolist(), *negative.nonzero()[:, 0].tolist()))
    assert len(drawn) > 5
    ((positive,), (negative,)) = sampler([torch.tensor([0, -1, 0, 0, 0])])
    assert not positive.any()
    assert negative.tolist() == [True, False, True, True, False], "the first three"
    ((positive,), (negative,)) = sampler([torch.tensor([1, 0, 0, 0, 0])])
    assert (positive.sum(), negative.sum()) == (1, 3), "too few objects are made up for by background"


def test_a_box_without_an_area_is_refused():
    given = targets("retinanet")
    given[1]["boxes"][0] = torch.tensor([10.0, 20.0, 10.0, 40.0])
    with pytest.raises(
        InputError, match=r"targets\[1\]: expected boxes .* with an area, got \[10.0, 20.0, 10.0, 40.0\]"
    ):
        attack(family("retinanet"), pictures("retinanet"), given, PGD(epsilon=0.03, step_size=0.01, steps=1))
