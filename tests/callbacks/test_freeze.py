"""What moves in one real optimiser step, stage by stage."""

import pytest
import torch

from hydra_det.callbacks.freeze import Freeze
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, learning_parts, trainer
from tests.modules.example import network
from tests.modules.test_masked_conv import scatter_masks

# A fit without validation images is what is wanted here.
pytestmark = pytest.mark.filterwarnings("ignore:Total length of `list`")

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def part_of(name, net):
    """By what a tensor is called and how many dimensions it has."""
    last = name.rsplit(".", 1)[1]
    if last in ("mask", "scores"):
        return last
    if last in STATISTICS:
        return "statistics"
    return "batch_norm" if ".norm." in name else "weights"


def what_moves(train, *, masked, epochs=1, passes=0):
    """Part -> the share of its tensors that a fit changes."""
    net = network("yolov3_tiny")
    if masked:
        make_masked(net)
        scatter_masks(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruned = {name: layer.effective_weight().detach()[~layer.mask] for name, layer in masked_layers(net)}
    run = trainer(Freeze(train=train), max_epochs=epochs)
    run.fit(detector(net), datamodule=TinyData(passes=passes))
    assert run.global_step == epochs
    moved: dict[str, list[bool]] = {}
    for name, tensor in net.state_dict().items():
        moved.setdefault(part_of(name, net), []).append(not torch.equal(tensor, before[name]))
    for name, layer in masked_layers(net):
        assert torch.equal(layer.effective_weight().detach()[~layer.mask], pruned[name])
        assert not pruned[name].any()
    return {part: sum(changes) / len(changes) for part, changes in moved.items()}


def test_pretrain():
    moved = what_moves(learning_parts("pretrain"), masked=False)
    assert moved == {"weights": 1, "batch_norm": 1, "statistics": 1}


def test_train_scores():
    moved = what_moves(learning_parts("train_scores"), masked=True)
    assert moved == {"weights": 0, "batch_norm": 1, "statistics": 1, "mask": 0, "scores": 1}


def test_scores_alone():
    moved = what_moves(["scores"], masked=True)
    assert moved == {"weights": 0, "batch_norm": 0, "statistics": 0, "mask": 0, "scores": 1}


def test_finetune():
    moved = what_moves(learning_parts("finetune"), masked=True)
    assert moved == {"weights": 1, "batch_norm": 1, "statistics": 1, "mask": 0, "scores": 0}


def test_frozen_statistics_survive_validation():
    """Whatever Lightning does to the train flags around a validation and at the start of an epoch."""
    moved = what_moves(["scores"], masked=True, epochs=3, passes=2)
    assert moved == {"weights": 0, "batch_norm": 0, "statistics": 0, "mask": 0, "scores": 1}


def test_frozen_batch_norm_alone():
    moved = what_moves(["weights"], masked=False)
    assert moved == {"weights": 1, "batch_norm": 0, "statistics": 0}


def test_what_was_frozen_can_learn_again():
    net = network("yolov3_tiny").requires_grad_(False)
    Freeze(train=["batch_norm"]).setup(trainer(), detector(net), "fit")
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in net.named_parameters() if ".norm." in name}


@pytest.mark.parametrize("train", [["weight"], ["scores", "bias"]])
def test_unknown_parts_are_refused(train):
    with pytest.raises(InputError, match="expected some of weights, batch_norm, scores, got"):
        Freeze(train=train)
