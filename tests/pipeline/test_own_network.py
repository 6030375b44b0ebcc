"""A user's own network goes through all five stages: three verbs are enough for masks of weights and kernels."""

import json

import pytest
import torch
from torch import nn

from hydra_det.compaction.channels import layout
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.records.record import read_record
from hydra_det.types import InputError
from tests.modules.own import Small, Winding
from tests.pipeline.tiny import run


def own(*words: str, kind: str = "Winding") -> list[str]:
    """Overrides of a tiny run of a network of the tests; the width of the tiny YOLO is not for it."""
    return ["model=own", f"model._target_=tests.modules.own.{kind}", "+model.width=12", *words]


@pytest.fixture
def without_width(monkeypatch):
    from tests.pipeline import tiny

    monkeypatch.setattr(tiny, "OVERRIDES", [word for word in tiny.OVERRIDES if not word.startswith("model.")])


def test_layers_of_a_network_that_cannot_be_traced_stand_apart():
    net = make_masked(Winding())
    with pytest.raises(InputError, match="whose forward is the same for every image"):
        layout(net)
    found = layout(net, channels=False)
    assert {name: layer.shape for name, layer in found.layers.items()} == {
        name: tuple(layer.weight.shape) for name, layer in masked_layers(net)
    }
    assert [layer.positions for layer in found.layers.values()] == [64 * 64, 2 * 2, 2 * 2]
    channels = torch.cat([ends for layer in found.layers.values() for ends in (layer.reads, layer.writes)])
    assert sorted(channels.tolist()) == list(range(len(found.fixed))), "no two layers share a channel"
    assert found.fixed.all(), "and none of them may go"
    assert not found.groups()


def test_channels_are_followed_through_what_does_nothing():
    """As the blocks of timm have it where another network drops or attends."""
    plain, idle = Small(), Small()
    idle.middle[0] = nn.Sequential(nn.Identity(), idle.middle[0], nn.Identity())
    found, wanted = layout(make_masked(idle)), layout(make_masked(plain))
    assert len(found.groups()) == len(wanted.groups()) > 0
    for name, layer in found.layers.items():
        assert torch.equal(layer.reads, wanted.layers[name].reads)
        assert torch.equal(layer.writes, wanted.layers[name].writes)


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_a_network_that_cannot_be_traced(tmp_path, without_width, caplog, granularity):
    caplog.set_level("INFO")
    words = own(f"prune={granularity}", "prune.ratio=0.5", "prune.allocation=erk", "attack.objective=terms.size")
    record = run(tmp_path, *words)
    assert record.sparsity["pruned"] / record.sparsity["total"] == pytest.approx(0.5, abs=0.05)
    assert list(record.latency) == ["dense", "pruned"], "nothing compact is made of it"
    assert "channels that carry nothing are not looked for: compaction: expected a network whose forward" in caplog.text
    for side in ("dense", "pruned"):
        attacked = record.metrics[side]["attacked"]
        assert attacked is not None
        assert attacked["coco"]["map"] is not None
    finished = FinishedRun(tmp_path / "run", trusted=["tests.modules.own.Winding"])
    net = finished.network("pruned")
    layers = dict(masked_layers(net))
    assert layers.keys() == {"entry", "middle.2", "head.2"}
    assert read_record(tmp_path / "run" / "record.json") == record
    detections = json.loads((tmp_path / "run" / "pruned" / "detections_clean.json").read_text())
    assert detections, "it answers"


@pytest.mark.parametrize("kind", ["Small", "Winding", "Nested"])
def test_scores_by_deeplift_of_the_loss(tmp_path, without_width, kind):
    """Every module of both has a rule; whether a graph can be drawn does not matter to it."""
    record = run(tmp_path, *own("init=deeplift", "init.target=loss", "prune=weight", "prune.ratio=0.5", kind=kind))
    facts = next(stage["facts"] for stage in record.stages if stage["name"] == "init_scores")
    assert 0 < facts["completeness_gap"] < 1e-3


@pytest.mark.parametrize("kind", ["Small", "Nested"])
def test_channels_of_a_network_that_can_be_traced(tmp_path, without_width, kind):
    record = run(tmp_path, *own("prune=filter_group", "prune.ratio=0.5", kind=kind))
    assert record.sparsity["pruned"] > 0.4 * record.sparsity["total"]
    assert list(record.latency) == ["dense", "pruned", "compact"]


@pytest.mark.parametrize(("words", "message"), [
    (["prune=filter_group"], "compaction: expected a network whose forward is the same for every image, got Winding"),
    (["init=deeplift_paper"], "init.target: expected a network with a method evidence, got Winding; use init"),
    (["hardening=consistent"], "hardening: expected one that Winding can learn by, got consistent, which needs"),
    (["attack.objective=objectness"], "attack.objective: .*, which has classification, box, size, got objectness"),
    (["evaluation.attack={_target_:hydra_det.attacks.gradient.PGD,objective:terms.sise}"],
     "evaluation.attack.objective: .*, which has classification, box, size, got terms.sise"),
    (["attack=average_precision"], "Winding has a term for, got average_precision"),
])  # fmt: skip
def test_what_it_lacks_is_said_in_one_line(tmp_path, without_width, words, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, *own("stage.pretrain.clean_epochs=0", "stage.pretrain.attacked_share=1.0", *words))


@pytest.mark.parametrize(("words", "message"), [
    (["attack=average_precision"], r"attack\.objective: .*, got average_precision, which needs a method decode;"),
    (["attack=carlini_wagner"], "attack: expected one that Winding has a term for, got margins, which needs a method"),
    (["attack=task_wise", "attack.objectives=[box]"], r"attack\.judge: .* got average_precision, which needs a method"),
    (["init=deeplift_paper"], r"init\.target: expected a network with a method evidence, got Winding; use"),
    (["init=deeplift", "init.target=topk"], r"init\.target: expected a network with a method objectness, got Winding"),
])  # fmt: skip
def test_what_a_later_epoch_or_stage_needs_is_said_before_the_first_epoch(tmp_path, without_width, words, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, *own("dry_run=true", *words))
