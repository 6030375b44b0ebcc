"""Every family goes through all five stages, as the command line would ask for it."""

import json
import shutil

import pytest
import torch

from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import masked_layers
from hydra_det.records.record import read_record
from hydra_det.types import InputError
from tests.pipeline.tiny import run

SMALL = ("model.backbone=resnet18", "model.anchor_sizes=[8,16,32,64,128]")
RETINANET = {"_target_": "hydra_det.modules.torchvision.retinanet.RetinaNetDetector"}
WORDS = {
    "retinanet": SMALL,
    "fcos": ("model.backbone=resnet18",),
    "ssd": (),
    "ssdlite": (),
    "faster_rcnn": ("model.backbone=mobilenet_v3_large", "model.sampled=16"),
    "yolov3_nano": ("model.width=0.125",),  # which has residual sums; most tests of whole runs have YOLOv3-tiny
}


@pytest.fixture(autouse=True)
def without_width(monkeypatch):
    from tests.pipeline import tiny

    monkeypatch.setattr(tiny, "OVERRIDES", [word for word in tiny.OVERRIDES if not word.startswith("model.")])


# Writing checkpoints of 30 M weights takes most of the time: one family of one stage and one of two are tried always.
@pytest.mark.parametrize(("name", "further"), [
    pytest.param("ssd", ("prune=weight", "data.image_size=288", "data.canvas=288"), marks=pytest.mark.slow),
    pytest.param("retinanet", ("prune=weight", "prune.allocation=erk"), marks=pytest.mark.slow),
    ("ssdlite", ("prune=weight", "prune.allocation=learned", "init=deeplift")),
    pytest.param("fcos", ("prune=kernel", "init=deeplift"), marks=pytest.mark.slow),
    ("faster_rcnn", ("prune=weight", "attack.objective=terms.proposals")),
    ("yolov3_nano", ("prune=hybrid", "prune.allocation=global")),
])  # fmt: skip
def test_all_stages(tmp_path, name, further):
    words = (
        f"model={name}",
        *WORDS[name],
        "prune.ratio=0.5",
        "data.train_size=8",
        "data.val_images=2",
        "data.test_size=2",
        "stage.pretrain.epochs=2",
        "stage.train_scores.epochs=1",
        "stage.finetune.epochs=1",
    )
    record = run(tmp_path, *words, *further)
    assert record.sparsity["pruned"] / record.sparsity["total"] == pytest.approx(0.5, abs=0.05)
    for side in ("dense", "pruned"):
        attacked = record.metrics[side]["attacked"]
        assert attacked is not None
        assert attacked["coco"]["map"] is not None
    finished = FinishedRun(tmp_path / "run")
    net = finished.network("pruned")
    kept = {layer: module.mask.float().mean().item() for layer, module in masked_layers(net)}
    assert len(kept) > 20
    assert read_record(tmp_path / "run" / "record.json") == record
    assert json.loads((tmp_path / "run" / "pruned" / "detections_clean.json").read_text())
    facts = {stage["name"]: stage["facts"] for stage in record.stages}
    if "init=deeplift" in further:
        assert facts["init_scores"]["completeness_gap"] < 1e-3


@pytest.mark.parametrize(("words", "message"), [
    (("model=fcos", "model.norm=frozen"), r"model.norm: expected trained, or frozen beside model.weights or"),
    (("model=yolov3_nano", "+model.backbone_weights=a.pth"), "model.backbone_weights: expected none, as YOLOv3 has no"),
    (("model=ssdlite", "attack.objective=objectness"), "attack.objective: .*, which has classification, box, got obj"),
    (("model=faster_rcnn", *WORDS["faster_rcnn"], "init=deeplift_paper"), "expected a network with a method evidence"),
])  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, "stage.pretrain.clean_epochs=0", "stage.pretrain.attacked_share=1.0", *words)


def test_a_size_that_a_family_cannot_take_is_said_before_anything_is_trained(tmp_path):
    with pytest.raises(InputError, match=r"data.image_size: expected at least 288 for SSDDetector, got 64"):
        run(tmp_path, "model=ssd", "dry_run=true", "data.image_size=64")


def test_a_backbone_counts_by_its_content(tmp_path):
    from torchvision.models import resnet18

    from hydra_det.pipeline.stages.identity import model_identity

    torch.manual_seed(0)
    state = resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "one.pth")
    shutil.copy(tmp_path / "one.pth", tmp_path / "copy.pth")
    torch.save(state | {"conv1.weight": -state["conv1.weight"]}, tmp_path / "other.pth")
    found = {
        name: model_identity({**RETINANET, "backbone": "resnet18", "backbone_weights": str(tmp_path / f"{name}.pth")})
        for name in ("one", "copy", "other")
    }
    assert found["one"] == found["copy"] != found["other"]
