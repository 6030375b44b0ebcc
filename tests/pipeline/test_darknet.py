"""A whole run with the network of a `.cfg`, and what is left of it when the file is gone."""

from pathlib import Path

import pytest
import torch
from torch import nn

import hydra_det
from hydra_det.pipeline.build import read_yaml
from hydra_det.types import InputError
from tests.modules.darknet.example import CFGS
from tests.pipeline.tiny import run

SHAPES = 6  # classes of the built-in pictures


def a_run(folder: Path, cfg: Path, *words: str) -> None:
    run(folder, "model=darknet", "model.width=null", f"model.cfg={cfg}", "prune=filter_group", *words)


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "net.cfg"
    path.write_text(
        CFGS["depthwise"]
        .replace("classes=2", f"classes={SHAPES}")
        .replace("filters=21\n", f"filters={3 * (5 + SHAPES)}\n")
    )
    return path


def test_all_stages_and_a_smaller_network_without_the_file(cfg: Path, tmp_path: Path) -> None:
    a_run(tmp_path, cfg, "prune.ratio=0.5", "init=deeplift", "init.images=8", "init.max_gap=0.01")
    text = cfg.read_text()
    cfg.unlink()
    finished = hydra_det.load_run(tmp_path / "run")
    pruned = finished.network("pruned")
    small = hydra_det.compact(pruned)
    assert max(small.differences.values()) < 1e-4
    weights = [
        sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d)) for net in (pruned, small.network)
    ]
    assert weights[1] <= 0.5 * weights[0]
    assert any(m.groups > 1 for m in small.network.modules() if isinstance(m, nn.Conv2d))
    own = read_yaml(tmp_path / "run" / "config.yaml")["model"]
    assert own["cfg"].startswith("[net]")
    assert own["num_classes"] == SHAPES
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        raw = finished.network("dense")(image)
    assert [level.shape[-1] for level in raw] == [5 + SHAPES] * 2
    # A file that says the same with other words is the same network: nothing is trained again.
    cfg.write_text("# another comment\n" + text.replace("learning_rate=0.001", "learning_rate = 0.5"))
    again = run(
        tmp_path, "model=darknet", "model.width=null", f"model.cfg={cfg}", "prune=filter_group", "prune.ratio=0.5",
        "init=deeplift", "init.images=8", "init.max_gap=0.01", name="again",
    )  # fmt: skip
    assert all(stage["reused"] for stage in again.stages)


def test_data_of_other_classes_and_anchors_of_ones_own_are_refused(cfg: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.anchors: expected none, since the network has its own, got auto"):
        a_run(tmp_path, cfg, "model.anchors=auto")
    cfg.write_text(CFGS["depthwise"])
    with pytest.raises(InputError, match="expected the 6 classes of the data or of names=, got 2; write classes=6 at"):
        a_run(tmp_path, cfg)
    with pytest.raises(InputError, match=r"model\.cfg: expected the path of a \.cfg file of Darknet, got none"):
        run(tmp_path, "model=darknet", "model.width=null")
