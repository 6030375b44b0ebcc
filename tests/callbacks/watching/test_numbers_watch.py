"""A stage stops before numbers that are not finite reach its weights or a checkpoint, and says where they came from."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from hydra_det.callbacks.freeze import Freeze
from hydra_det.callbacks.watching.numbers_watch import LEAST_SCALE, MOST_SKIPPED, NumbersWatch
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, fake_trainer, trainer
from tests.modules.example import network

NAN = float("nan")


class At(pl.Callback):
    """Does something at a hook in one of the steps, counted from 0."""

    def __init__(self, hook, step, do):
        self.step = step
        self.do = do
        setattr(self, hook, self._hook)

    def _hook(self, trainer, module, *arguments):
        if trainer.global_step == self.step:
            self.do(module, *arguments)


def fit(net, *callbacks, data=None, lr=1e-2, optimizer=torch.optim.AdamW, **arguments):
    made = detector(net)
    made.optimizer = lambda groups: optimizer(groups, lr=lr)
    run = trainer(*callbacks, NumbersWatch(name="pretrain"), **arguments)
    run.fit(made, datamodule=data or TinyData(3))
    return run


def numbered(batches):
    """Batches with the image ids 10 and 11, 20 and 21 and so on."""
    data = TinyData(batches)
    for number, made in enumerate(data.batches, 1):
        made["targets"] = [{**t, "image_id": 10 * number + k} for k, t in enumerate(made["targets"])]
    return data


def parameters(net):
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def assert_same(found, expected):
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def spoil(parameter):
    with torch.no_grad():
        parameter.view(-1)[2] = NAN


def test_a_healthy_training_is_what_it_is_without_the_watch():
    watched = network("yolov3_tiny")
    alone = copy.deepcopy(watched)
    fit(watched)
    made = detector(alone)
    made.optimizer = lambda groups: torch.optim.AdamW(groups, lr=1e-2)
    trainer().fit(made, datamodule=TinyData(3))
    assert_same(watched.state_dict(), alone.state_dict())


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_loss_term_stops_before_its_gradient_reaches_a_weight(value):
    net = network("yolov3_tiny")
    before = parameters(net)
    bad = At(
        "on_train_batch_start", 0, lambda module, *_: module.penalties.update(drift=lambda raw: raw[0].sum() * value)
    )
    with pytest.raises(
        InputError, match=r"^pretrain, epoch 1, step 1: .* a loss term drift of -?(nan|inf) on images 10, 11;"
    ):
        fit(net, bad, data=numbered(1))
    assert_same(parameters(net), before)


def test_a_learning_rate_far_too_large_names_itself_and_leaves_finite_weights():
    net = network("yolov3_tiny")
    with pytest.raises(InputError, match=r"lower stage\.pretrain\.optimizer\.lr \(9\.7e\+29 in this step\)"):
        fit(net, lr=1e30, max_epochs=3)
    assert all(parameter.isfinite().all() for parameter in net.parameters())


def test_a_gradient_that_is_not_finite_names_its_parameter():
    net = network("yolov3_tiny")
    before = parameters(net)
    name, parameter = list(net.named_parameters())[3]
    parameter.register_hook(
        lambda gradient: torch.where(torch.arange(gradient.numel()) == 1, NAN, gradient.flatten()).view_as(gradient)
    )
    with pytest.raises(
        InputError, match=rf"got 1 of {parameter.numel()} values .* gradient of {name} on images 10, 11;"
    ):
        fit(net, data=numbered(1))
    assert_same(parameters(net), before)


def test_of_summed_batches_the_one_that_went_wrong_is_named():
    def penalty(raw):
        calls.append(raw)
        return raw[0].sum() * (NAN if len(calls) == 2 else 0)

    calls: list[Any] = []
    bad = At("on_fit_start", 0, lambda module: module.penalties.update(drift=penalty))
    with pytest.raises(InputError, match=r"step 1: .* drift of nan on images 20, 21;"):
        fit(network("yolov3_tiny"), bad, data=numbered(3), accumulate_grad_batches=3)
    assert len(calls) == 3, "looked at once, before the step"


@pytest.mark.parametrize("attacked", [False, True])
def test_an_image_that_is_not_finite_is_named_and_not_its_neighbour(attacked):
    def attack(module, batch, *_):
        batch["images"] = batch["images"].clone()
        batch["images"][1, 0, 5, 5] = float("inf")

    data, callbacks = numbered(2), []
    if attacked:
        callbacks = [At("on_train_batch_start", 1, attack)]
    else:
        data.batches[1]["images"][1, 2, 3, 4] = NAN
    with pytest.raises(InputError, match=r"step 2: .* images 21 not finite; look at them with doctor\.py"):
        fit(network("yolov3_tiny"), *callbacks, data=data)


def test_a_parameter_that_a_step_broke_is_named_in_the_next_one():
    net = network("yolov3_tiny")
    name, parameter = next(iter(net.named_parameters()))
    bad = At("on_train_batch_end", 1, lambda *_: spoil(parameter))
    with pytest.raises(
        InputError, match=rf"step 2: .* 1 of {parameter.numel()} values of {name} not finite after an ear"
    ):
        fit(net, bad)


@pytest.mark.parametrize("buffer", [False, True])
def test_no_checkpoint_holds_what_is_not_finite(tmp_path, buffer):
    net = network("yolov3_tiny")
    tensor = next(net.buffers()) if buffer else next(net.parameters())
    tensor = next(b for n, b in net.named_buffers() if n.endswith("running_var")) if buffer else tensor
    bad = At("on_train_batch_end", 6, lambda *_: spoil(tensor))  # the last step of the second epoch
    keep = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    with pytest.raises(InputError, match="not finite after an earlier step"):
        fit(net, bad, keep, max_epochs=2, enable_checkpointing=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 0
    assert all(tensor.isfinite().all() for tensor in saved["state_dict"].values())


def test_a_stage_that_trains_nothing_does_not_pass_on_what_is_not_finite():
    net = network("yolov3_tiny")
    spoil(next(net.parameters()))
    with pytest.raises(InputError, match="not finite"):
        fit(net, max_epochs=0)


def test_scores_that_explode_are_named_and_those_that_learn_are_not():
    def train(lr):
        net = make_masked(network("yolov3_tiny"))
        for _, layer in masked_layers(net):
            torch.nn.init.uniform_(layer.scores, -0.1, 0.1)
        fit(net, Freeze(train=["scores"]), lr=lr, optimizer=torch.optim.Adam, max_epochs=4)
        return net

    train(0.1)  # a hundred times the default; twelve steps
    first = masked_layers(make_masked(network("yolov3_tiny")))[0]
    # Its 27 inputs a filter, 3 channels of 3 x 3, give sqrt(6 / 27), which is more than the 0.1 that scores begin with.
    with pytest.raises(
        InputError, match=rf"epoch 4, step 11: .* got a score of .*e\+0\d in {first[0]} where 4\.71e\+03 is the most"
    ):
        train(1e6)


def test_scores_that_begin_to_learn_later_have_no_bound():
    net = make_masked(network("yolov3_tiny"))
    layers = [layer for _, layer in masked_layers(net)]
    for layer in layers:
        layer.scores.requires_grad_(False)

    def release(*_: object) -> None:
        for layer in layers:
            layer.scores.requires_grad_(True)

    fit(net, At("on_train_batch_start", 1, release), max_epochs=1)
    assert all(layer.scores.requires_grad for layer in layers)


def test_a_stage_that_goes_on_keeps_the_bounds_of_its_beginning():
    net = make_masked(network("yolov3_tiny"))
    watch = NumbersWatch(name="train_scores")
    module: Any = detector(net)
    watch.on_fit_start(fake_trainer(), module)
    again = NumbersWatch(name="train_scores")
    again.load_state_dict(copy.deepcopy(watch.state_dict()))
    with torch.no_grad():
        for _, layer in masked_layers(net):
            layer.scores.fill_(1e3)
    again.on_fit_start(fake_trainer(), module)
    assert again.state_dict() == watch.state_dict()


class Scaler:
    """A gradient scaler's word for its scale."""

    scale = 1.0

    def get_scale(self):
        return self.scale


def scaled_steps(values, *, scale=1.0, loss=0.0):
    """Steps under 16-mixed, whose gradients are all one value; how many there were."""
    net = network("yolov3_tiny")
    watch, module = NumbersWatch(name="pretrain"), detector(net)
    scaler = Scaler()
    scaler.scale = scale
    run = fake_trainer(
        precision_plugin=SimpleNamespace(scaler=scaler), precision="16-mixed", optimizers=[], max_epochs=1
    )
    run.strategy, run.state, run.validating = (
        SimpleNamespace(reduce=lambda flags, reduce_op: flags),
        SimpleNamespace(fn="fit"),
        False,
    )
    module.terms = {"box": torch.tensor(loss)}
    watch.on_fit_start(run, module)
    for count, value in enumerate(values, 1):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, value)
        watch.on_train_batch_start(run, module, TinyData().batches[0], 0)
        watch.on_before_backward(run, module, torch.tensor(0.0))
        try:
            watch.on_before_optimizer_step(run, module, torch.optim.SGD(net.parameters()))
        except InputError as error:
            return count, str(error)
    return len(values), ""


def test_a_scaler_may_skip_steps_but_not_for_ever():
    inf = float("inf")
    assert scaled_steps([inf] * (MOST_SKIPPED - 1) + [0.5] + [inf] * (MOST_SKIPPED - 1)) == (59, "")
    count, said = scaled_steps([inf] * 100)
    assert count == MOST_SKIPPED == 30
    assert "overflow in float16 whatever their scale, 30 steps in a row; take trainer.precision=bf16-mixed" in said
    assert scaled_steps([inf], scale=LEAST_SCALE) == (1, "")
    assert scaled_steps([inf], scale=LEAST_SCALE / 2)[1]
    assert "box of nan" in scaled_steps([inf], loss=NAN)[1]


def test_a_limit_that_is_none_is_refused():
    with pytest.raises(InputError, match="score_limit: expected a number above 1"):
        NumbersWatch(name="pretrain", score_limit=0.5)


@pytest.mark.gpu
def test_a_gpu_is_waited_for_once_a_step(tmp_path: Path):
    net = network("yolov3_tiny").cuda()
    watch, module = NumbersWatch(name="pretrain"), detector(net)
    run = fake_trainer(optimizers=[], strategy=SimpleNamespace(reduce=lambda flags, reduce_op: flags))
    made = TinyData().batches[0]
    made["images"] = made["images"].cuda()
    module.terms = {"box": torch.zeros((), device="cuda")}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    watch.on_fit_start(run, module)
    watch.on_train_batch_start(run, module, made, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        watch.on_before_backward(run, module, torch.zeros((), device="cuda"))
        torch.cuda.set_sync_debug_mode("warn")
        with pytest.warns(UserWarning, match="synchroniz") as said:
            watch.on_before_optimizer_step(run, module, torch.optim.SGD(net.parameters()))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([warning for warning in said if "synchroniz" in str(warning.message)]) == 1
