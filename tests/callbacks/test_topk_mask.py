"""Masks follow the scores once per optimiser step, and the last ones are those of the last scores."""

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from hydra_det.callbacks import topk_mask
from hydra_det.callbacks.freeze import Freeze
from hydra_det.callbacks.topk_mask import TopKMask
from hydra_det.compaction.measured_price import SHARES
from hydra_det.modules.detector import Detector
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.pruning.plan import MaskPlan
from hydra_det.pruning.settings import KINDS, PruneSettings
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import network
from tests.pruning.test_masks import exactly_kept

# A fit without validation images is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:Total length of `list`")


def scored_network():
    """Every score starts near every other, so that a step changes the order."""
    net = make_masked(network("yolov3_tiny"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, layer in masked_layers(net):
            layer.scores.copy_(0.5 + 0.01 * torch.rand(layer.scores.shape, generator=generator))
    return net


def best(layer, ratio):
    """By a full sort in numpy."""
    importance = np.abs(layer.scores.detach().numpy()).flatten()
    keep = exactly_kept(importance.size, ratio)
    mask = np.zeros(importance.size, dtype=bool)
    mask[np.argsort(-importance, kind="stable")[:keep]] = True
    return mask.reshape(layer.scores.shape)


def topk(*, final=False, **settings):
    return TopKMask(PruneSettings(**settings), final=final)


class Watch(pl.Callback):
    """Copies the masks that a batch is trained with."""

    def __init__(self):
        self.masks = []

    def on_train_batch_start(self, _trainer, pl_module, *_):
        self.masks.append([layer.mask.clone() for _, layer in masked_layers(pl_module.net)])


@pytest.mark.parametrize(("accumulate", "batches", "steps"), [(1, 3, 3), (2, 4, 2), (2, 5, 3), (4, 3, 1)])
def test_refreshed_once_per_optimiser_step(accumulate, batches, steps, monkeypatch):
    calls, masks = [], MaskPlan.masks

    def counting(plan, scores, **arguments):
        calls.append(arguments)
        return masks(plan, scores, **arguments)

    monkeypatch.setattr(MaskPlan, "masks", counting)
    net, watch = scored_network(), Watch()
    run = trainer(Freeze(train=["scores"]), topk(ratio=0.75), watch, accumulate_grad_batches=accumulate, max_epochs=1)
    run.fit(detector(net), datamodule=TinyData(batches))
    layers = masked_layers(net)
    assert run.global_step == steps
    assert len(calls) == 1 + steps, "at the start and after each step"
    for number, (now, after) in enumerate(zip(watch.masks, watch.masks[1:], strict=False), start=1):
        same = all(torch.equal(left, right) for left, right in zip(now, after, strict=True))
        assert same == (number % accumulate != 0), f"between batches {number} and {number + 1}"
    for _, layer in layers:
        np.testing.assert_array_equal(layer.mask, best(layer, "0.75"))


@pytest.mark.parametrize("ratio", ["0", "0.5", "0.9"])
@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_stage_without_training(ratio, granularity):
    net = scored_network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items() if not name.endswith(".mask")}
    callback = topk(ratio=float(ratio), granularity=granularity)
    trainer(callback, max_epochs=0).fit(detector(net), datamodule=TinyData())
    for _, layer in masked_layers(net):
        if granularity == "weight":
            np.testing.assert_array_equal(layer.mask, best(layer, ratio))
        kernel = 1 if granularity == "weight" else layer.mask[0, 0].numel()
        assert int(layer.mask.sum()) == exactly_kept(layer.mask.numel() // kernel, ratio) * kernel
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())


class Spoil(pl.Callback):
    """One weight more than asked."""

    def on_train_end(self, _trainer, pl_module):
        mask = masked_layers(pl_module.net)[1][1].mask.view(-1)
        mask[(~mask).nonzero()[0]] = True


def test_a_wrong_count_does_not_leave_the_stage():
    with pytest.raises(ValueError, match=r"expected \d+ of \d+ units kept at ratio 0.75"):
        trainer(topk(ratio=0.75, final=True), Spoil()).fit(detector(scored_network()), datamodule=TinyData())


class PrunedGradients(pl.Callback):
    """The largest gradient among the pruned weights of every layer and step."""

    def __init__(self):
        self.largest = []

    def on_before_optimizer_step(self, _trainer, pl_module, _optimizer):
        for _, layer in masked_layers(pl_module.net):
            gradient: Any = layer.scores.grad
            if not layer.mask.all():
                self.largest.append(float(gradient[~layer.mask].abs().max()))


@pytest.mark.parametrize("granularity", KINDS)
def test_every_granularity_learns_and_becomes_final(granularity):
    """In training scores of what is pruned get a gradient too; at the end the masks are what was asked."""
    net = scored_network()
    ratio = 0.5
    watch = PrunedGradients()
    trainer(Freeze(train=["scores"]), topk(ratio=ratio, granularity=granularity), watch).fit(
        detector(net), datamodule=TinyData(2)
    )
    assert len(watch.largest) > 20
    assert min(watch.largest) > 0, "what is pruned can come back"
    final = topk(ratio=ratio, granularity=granularity, final=True)
    trainer(final, max_epochs=0).fit(detector(net), datamodule=TinyData())
    kept = sum(int(layer.mask.sum()) for _, layer in masked_layers(net))
    total = sum(layer.mask.numel() for _, layer in masked_layers(net))
    assert kept / total == pytest.approx(1 - ratio, abs=0.01)
    assert final.facts["units"].keys() == final.facts["units_kept"].keys()
    assert all(0 < final.facts["units_kept"][pool] <= size for pool, size in final.facts["units"].items())


@pytest.mark.parametrize(("allocation", "advised"), [("uniform", True), ("global", False)])
def test_channels_that_are_left_nothing_are_named(caplog, allocation, advised):
    net = scored_network()
    name, layer = max(masked_layers(net), key=lambda pair: len(pair[1].weight))
    with torch.no_grad():
        layer.scores[: len(layer.scores) // 2] = 1e-9  # half of the channels of the widest layer
    final = topk(ratio=0.5, granularity="weight", allocation=allocation, final=True)
    trainer(final, max_epochs=0).fit(detector(net), datamodule=TinyData())
    starved = sum(int((layer.mask.flatten(1).sum(1) == 0).sum()) for _, layer in masked_layers(net))
    assert final.facts["starved_channels"] == starved >= len(layer.weight) // 2
    (said,) = [record.message for record in caplog.records if "no weight" in record.message]
    channels = sum(len(layer.mask) for _, layer in masked_layers(net))
    assert said.startswith(f"the masks leave {starved} of {channels} channels no weight; the largest share in {name} (")
    assert ("prune.allocation=erk or learned" in said) == advised


def test_nothing_is_said_where_no_channel_starves(caplog):
    final = topk(ratio=0.5, granularity="filter", final=True)
    trainer(final, max_epochs=0).fit(detector(scored_network()), datamodule=TinyData())
    assert "starved_channels" not in final.facts, "whole channels go: that was asked"
    final = topk(ratio=0.1, granularity="weight", final=True)
    trainer(final, max_epochs=0).fit(detector(scored_network()), datamodule=TinyData())
    assert final.facts["starved_channels"] == 0
    assert not [record for record in caplog.records if "no weight" in record.message]


def shares(net):
    return {name: int(layer.mask.sum()) for name, layer in masked_layers(net)}


def test_learned_shares_move_and_are_kept_at_the_end():
    net = scored_network()
    uniform = scored_network()
    trainer(topk(ratio=0.8), max_epochs=0).fit(detector(uniform), datamodule=TinyData())
    settings = {"ratio": 0.8, "allocation": "learned", "rate": 0.3}
    trainer(Freeze(train=["scores"]), topk(**settings), max_epochs=2).fit(detector(net), datamodule=TinyData(3))
    learned = shares(net)
    assert sum(learned.values()) == pytest.approx(sum(shares(uniform).values()), rel=1e-3)
    assert learned != shares(uniform)
    trainer(topk(**settings, final=True), max_epochs=0).fit(detector(net), datamodule=TinyData())
    assert shares(net) == learned


class Steady(Detector):
    """Whose learning rate does not depend on the number of epochs."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=1e-2)


def test_learned_shares_survive_an_interruption(tmp_path):
    def fit(net, epochs, resumed=None):
        run = trainer(
            Freeze(train=["scores"]), topk(ratio=0.8, allocation="learned", rate=0.3),
            ModelCheckpoint(tmp_path, filename="last", save_top_k=1, every_n_epochs=1, enable_version_counter=False),
            max_epochs=epochs, enable_checkpointing=True,
        )  # fmt: skip
        run.fit(Steady(net), datamodule=TinyData(2), ckpt_path=resumed, weights_only=True)

    whole = scored_network()
    fit(whole, 3)
    (tmp_path / "last.ckpt").unlink()
    part, rest = scored_network(), scored_network()
    fit(part, 2)
    fit(rest, 3, tmp_path / "last.ckpt")
    for (_, a), (_, b) in zip(masked_layers(whole), masked_layers(rest), strict=True):
        assert torch.equal(a.mask, b.mask)


def test_a_budget_of_time_is_measured_while_scores_learn_and_kept_in_the_end(monkeypatch):
    measured = []

    def tables(_net, layout, *, image_size):
        measured.append(image_size)
        slow = {"neck.conv": 50.0}
        return {name: [[a * b * slow.get(name, 1.0) for b in SHARES] for a in SHARES] for name in layout.layers}

    monkeypatch.setattr(topk_mask, "measure", tables)
    net = scored_network()
    settings = {"ratio": 0.7, "granularity": "filter_group", "budget": "latency"}
    trainer(Freeze(train=["scores"]), topk(**settings)).fit(detector(net), datamodule=TinyData())
    read = {name: layer.mask.flatten(2).any(2).any(0) for name, layer in masked_layers(net)}
    trainer(topk(**settings, final=True), max_epochs=0).fit(detector(net), datamodule=TinyData())
    assert measured == [TinyData.image_size]
    kept = {name: float(layer.mask.float().mean()) for name, layer in masked_layers(net)}
    assert 0.2 < (sum(kept.values()) + 49 * kept["neck.conv"]) / (len(kept) + 49) <= 0.3
    for name, layer in masked_layers(net):
        assert int(layer.mask.flatten(2).any(2).any(0).sum()) == int(read[name].sum())


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
@pytest.mark.parametrize("allocation", ["uniform", "global", "erk"])
def test_a_budget_of_time_in_the_sparse_engine(monkeypatch, granularity, allocation):
    """A layer without any weight still takes half of its time."""
    prices = pytest.importorskip("hydra_det.engines.sparse.prices")
    asked = []

    def tables(layers, sizes, *, kernels, threads):
        asked.append((kernels, {*layers} <= {*sizes}))
        return {
            name: [(1 + share) * (50.0 if name == "neck.conv" else 1.0) for share in prices.SHARES] for name in layers
        }

    monkeypatch.setattr(prices, "measure", tables)
    net = scored_network()
    settings = {"ratio": 0.3, "granularity": granularity, "budget": "latency", "allocation": allocation}
    trainer(Freeze(train=["scores"]), topk(**settings)).fit(detector(net), datamodule=TinyData())
    trainer(topk(**settings, final=True), max_epochs=0).fit(detector(net), datamodule=TinyData())
    assert asked == [(granularity == "kernel", True)]
    kept = {name: float(layer.mask.float().mean()) for name, layer in masked_layers(net)}
    cost = sum((1 + share) * (50.0 if name == "neck.conv" else 1.0) for name, share in kept.items())
    whole = 2 * (len(kept) + 49)
    assert 0.6 * whole < cost <= 0.7 * whole
    if allocation == "uniform":
        assert max(kept.values()) - min(kept.values()) < 0.1


class Overflow(pl.Callback):
    """A gradient as half precision leaves it."""

    def on_before_optimizer_step(self, _trainer, pl_module, _optimizer):
        gradient: Any = masked_layers(pl_module.net)[3][1].scores.grad
        gradient.view(-1)[:] = float("inf")


class Skip(pl.Callback):
    """The scaler of half precision skips such a step."""

    def on_before_optimizer_step(self, _trainer, pl_module, _optimizer):
        for parameter in pl_module.parameters():
            parameter.grad = None


def test_an_overflow_of_half_precision_is_passed_over():
    net, callback = scored_network(), topk(ratio=0.8, allocation="learned", start="uniform")
    trainer(Overflow(), callback, Skip()).fit(detector(net), datamodule=TinyData(2))
    assert not callback.state_dict()["learned"]["logits"].any()
