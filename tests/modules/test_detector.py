"""The training step: what decays, how the learning rate moves, and the mean that is minimised."""

import doctest
import functools
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hydra_det.modules import detector
from hydra_det.modules.detector import Detector, fused, parameter_groups, warmup_cosine
from hydra_det.modules.masked_conv import make_masked
from tests.callbacks.example import TinyData, trainer
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


@pytest.mark.parametrize(
    "settings",
    [
        (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.5}),
        (torch.optim.Adam, {"lr": 0.1, "amsgrad": True}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_a_fused_step_is_the_step_in_one_pass(settings):
    kind, values = settings
    factory = functools.partial(kind, **values)
    ends, made = [], []
    for chosen in (factory, fused(factory, torch.device("cpu"))):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(7, 5))
        made.append(chosen([{"params": [weight]}]))
        for _ in range(4):
            weight.grad = torch.randn_like(weight)
            made[-1].step()
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1])
    assert [optimizer.defaults["fused"] for optimizer in made] == [None, True]
    same = {key: optimizer.defaults[key] for optimizer in made for key in values}
    assert same == values


@pytest.mark.parametrize(
    "factory",
    [
        functools.partial(torch.optim.AdamW, lr=0.1, fused=False),
        functools.partial(torch.optim.AdamW, lr=0.1, foreach=True),
        functools.partial(torch.optim.RMSprop, lr=0.1),
        lambda groups: torch.optim.AdamW(groups, lr=0.1),
    ],
)
def test_what_settings_say_of_the_step_stays(factory):
    assert fused(factory, torch.device("cpu")) is factory
    assert fused(torch.optim.SGD, torch.device("meta")) is torch.optim.SGD


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("limit", [1e-3, None])
def test_gradients_are_clipped_in_every_precision(precision, algorithm, limit):
    net = network("yolov3_tiny")
    before = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    run = trainer(max_steps=1, precision=precision, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    run.fit(Detector(net, optimizer=functools.partial(torch.optim.SGD, lr=1.0)), datamodule=TinyData(1))
    assert run.optimizers[0].defaults["fused"]
    moved = torch.cat([parameter.detach().flatten() for parameter in net.parameters()]) - before
    size = moved.norm() if algorithm == "norm" else moved.abs().max()
    assert size > 0.1 if limit is None else size == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize(("precision", "one_pass"), [("16-mixed", None), ("32-true", True), ("bf16-mixed", True)])
def test_where_gradients_are_scaled_the_step_stays_plain(precision, one_pass, monkeypatch):
    attached = SimpleNamespace(precision=precision, estimated_stepping_batches=1)
    monkeypatch.setattr(Detector, "trainer", attached)
    module = Detector(network("yolov3_tiny"), optimizer=functools.partial(torch.optim.AdamW, lr=1e-3))
    assert module.configure_optimizers()["optimizer"].defaults["fused"] is one_pass


def test_examples_run():
    result = doctest.testmod(detector)
    assert (result.failed, result.attempted > 0) == (0, True)
