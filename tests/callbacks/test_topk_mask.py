"""Masks follow the scores once per optimiser step, and the last ones are those of the last scores."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from hydra_det.callbacks import topk_mask
from hydra_det.callbacks.freeze import Freeze
from hydra_det.callbacks.topk_mask import TopKMask
from hydra_det.modules.masked_conv import masked_layers, to_masked
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import network
from tests.prune.test_masks import exactly_kept

# A fit without validation images is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:Total length of `list`")


def scored_network():
    """Every score starts near every other, so that a step changes the order."""
    net = to_masked(network("yolov3_tiny"))
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


class Watch(pl.Callback):
    """Copies the masks that a batch is trained with."""

    def __init__(self):
        self.masks = []

    def on_train_batch_start(self, _trainer, pl_module, *_):
        self.masks.append([layer.mask.clone() for _, layer in masked_layers(pl_module.net)])


@pytest.mark.parametrize(("accumulate", "batches", "steps"), [(1, 3, 3), (2, 4, 2), (2, 5, 3), (4, 3, 1)])
def test_refreshed_once_per_optimiser_step(accumulate, batches, steps, monkeypatch):
    calls, mask_from_scores = [], topk_mask.mask_from_scores

    def counting(scores, **arguments):
        calls.append(arguments)
        return mask_from_scores(scores, **arguments)

    monkeypatch.setattr(topk_mask, "mask_from_scores", counting)
    net, watch = scored_network(), Watch()
    run = trainer(
        Freeze(train=["scores"]), TopKMask(ratio=0.75), watch, accumulate_grad_batches=accumulate, max_epochs=1
    )
    run.fit(detector(net), datamodule=TinyData(batches))
    layers = masked_layers(net)
    assert run.global_step == steps
    assert len(calls) == (1 + steps) * len(layers), "at the start and after each step"
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
    callback = TopKMask(ratio=float(ratio), granularity=granularity)
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
        trainer(TopKMask(ratio=0.75), Spoil()).fit(detector(scored_network()), datamodule=TinyData())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"ratio": 1.0}, r"prune\.ratio"),
        ({"ratio": -0.1}, r"prune\.ratio"),
        ({"ratio": 0.5, "granularity": "filters"}, "expected one of weight, kernel, got 'filters'"),
    ],
)
def test_impossible_arguments_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        TopKMask(**arguments)
