"""The training step: what decays, how the learning rate moves, and the mean that is minimised."""

import doctest
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from hydra_det.modules import detector
from hydra_det.modules.detector import Detector, parameter_groups, warmup_cosine
from hydra_det.modules.masked_conv import make_masked
from tests.modules.example import NETWORKS, batch, network


def names_of(net, group):
    by_id = {id(parameter): name for name, parameter in net.named_parameters()}
    return {by_id[id(parameter)] for parameter in group["params"]}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("masked", [False, True])
def test_only_weights_of_convolutions_decay(name, masked):
    net = network(name)
    shapes = {key: parameter.dim() for key, parameter in net.named_parameters()}
    if masked:
        make_masked(net)
    decaying, others = parameter_groups(net)
    assert names_of(net, decaying) == {key for key, dimensions in shapes.items() if dimensions == 4}
    scores = {f"{k}.scores" for k, m in net.named_modules() if isinstance(m, nn.Conv2d)} if masked else set()
    assert names_of(net, others) == {key for key, dimensions in shapes.items() if dimensions == 1} | scores
    assert len(decaying["params"]) + len(others["params"]) == len(list(net.parameters()))

    optimizer = torch.optim.AdamW([decaying, others], lr=0.1, weight_decay=0.5)
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in net.named_parameters():
        factor = 0.95 if key in names_of(net, decaying) else 1.0
        torch.testing.assert_close(parameter.detach(), before[key] * factor)


def test_frozen_parameters_are_absent():
    net = make_masked(network("yolov3_tiny"))
    for key, parameter in net.named_parameters():
        parameter.requires_grad_(key.endswith(".scores"))
    (group,) = parameter_groups(net)
    assert names_of(net, group) == {key for key, _ in net.named_parameters() if key.endswith(".scores")}
    assert group["weight_decay"] == 0
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert parameter_groups(net) == []


def test_warmup_then_cosine():
    factors = [warmup_cosine(step, steps=110, warmup=10) for step in range(111)]
    assert factors[:10] == [pytest.approx((k + 1) / 10) for k in range(10)]
    for share in (0.0, 0.25, 0.5, 0.75):
        assert factors[10 + round(100 * share)] == pytest.approx(0.5 + 0.5 * math.cos(math.pi * share))
    assert all(late <= early for early, late in pairwise(factors[10:]))
    assert factors[-1] == min(factors) == 0.01
    assert warmup_cosine(500, steps=110, warmup=10) == 0.01
    assert warmup_cosine(0, steps=10, warmup=0) == 1
    assert all(0 < warmup_cosine(step, steps=3, warmup=10) <= 1 for step in range(12))


def test_training_step_is_the_mean_over_images():
    net, made = network("yolov3").eval(), batch()
    step, logged = Detector(net), {}
    step.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    step.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    loss = step.training_step(made, 0)
    alone = []
    for image, truth in zip(made["images"], made["targets"], strict=True):
        alone.append(torch.cat(list(net.losses(net(image[None]), [truth]).values())))  # [3]
    terms = torch.stack(alone).mean(0)
    torch.testing.assert_close(loss, terms.sum(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logged.pop("train/loss"), terms.sum().detach(), rtol=1e-4, atol=1e-4)
    names = ["train/loss_box", "train/loss_objectness", "train/loss_classification"]
    torch.testing.assert_close(torch.stack([logged[name] for name in names]), terms.detach(), rtol=1e-4, atol=1e-4)


def test_examples_run():
    result = doctest.testmod(detector)
    assert (result.failed, result.attempted > 0) == (0, True)
