"""What the table of first masks says is what the files of a run hold."""

import dataclasses
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hydra_det.records.record import Metrics, read_record, write_record
from publish import draw_first_masks
from publish.draw_first_masks import First, cells, first_of, order_of, table
from tests.reports.example import example_record, network

SIDES = ("dense", "pruned")
OPTIONS = {"reference": "padding", "target": "assigned", "normalise": "none", "blend": "none", "sizes": "weights"}


def deeplift(**options: str) -> dict[str, str]:
    return {"_target_": "hydra_det.init.deeplift.DeepLift", **OPTIONS, **options}


@pytest.mark.parametrize(("init", "words"), [
    ({"_target_": "hydra_det.init.scaled.Scaled"}, "scaled"),
    ({"_target_": "hydra_det.init.gradient.Snip", "blend": "none"}, "snip"),
    (deeplift(), "DeepLIFT of the objects"),
    (deeplift(sizes="contributions"), "DeepLIFT of the objects, sizes of its own"),
    (deeplift(target="loss", blend="rank"), "DeepLIFT of the loss, blended by rank"),
    (deeplift(target="loss", reference="clean", normalise="channels"), "DeepLIFT of the attack, by channels"),
    ({"_target_": "hydra_det.init.deeplift.DeepLift", "target": "topk", "reference": "zeros", "sizes": "weights"},
     "DeepLIFT of the objectness"),  # of a record from before there were blends
])  # fmt: skip
def test_what_orders_the_scores(init: dict[str, str], words: str) -> None:
    assert order_of(init) == words


def test_a_run_is_read_as_it_lies_there(finished: Path) -> None:
    found = first_of(finished / "run", read_record(finished / "run" / "record.json"))
    stages = finished / "run" / "stages"
    initial, final = (load_file(stages / name / "weights.safetensors") for name in ("init_scores", "prune"))
    names = [key.removesuffix(".mask") for key in final if key.endswith(".mask")]
    kept = left = starved = channels = 0
    for name in names:
        last, scores = final[f"{name}.mask"].bool(), initial[f"{name}.scores"].abs()
        first = torch.zeros(scores.numel(), dtype=torch.bool)
        first[scores.flatten().argsort(descending=True)[: int(last.sum())]] = True
        kept, left = kept + int(last.sum()), left + int((first & last.flatten()).sum())
        by_channel = first.view(len(last), -1).sum(1)
        channels, starved = channels + len(last), starved + int((by_channel == 0).sum())
    assert found.left == pytest.approx(left / kept)
    assert 0 < found.left < 1
    assert found.starved == pytest.approx(starved / channels)
    assert found.like_weights == 1, "scaled scores are in the order of the weights"
    assert (found.order, found.shares, found.ratio, found.trained) == (
        "scaled",
        "uniform",
        0.75,
        "AdamW 0.001, 2 epochs",
    )


@pytest.mark.parametrize(("dense", "kept"), [(0.4, 0.5), (0.0, math.nan)])
def test_a_dense_network_without_ap_is_nothing_to_compare_with(finished: Path, dense: float, kept: float) -> None:
    metrics: Metrics = {"dense": network(0.4, dense), "pruned": network(0.3, 0.2)}
    record = dataclasses.replace(read_record(finished / "run" / "record.json"), metrics=metrics)
    found = first_of(finished / "run", record)
    assert found.kept == pytest.approx(kept, nan_ok=True)


def test_cells_are_means_over_seeds_and_the_best_comes_first(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = First("scaled", "erk", 0.9, "nothing", 0.25, 1.0, 1.0, 0.5, 0.2, 0.8)
    runs = [one, one._replace(attacked=0.4), one._replace(order="snip", attacked=0.35)]
    assert [len(own) for own in cells(runs).values()] == [2, 1]
    rows = list(table(runs))[2:]
    assert [row.split(" | ")[2] for row in rows] == ["snip", "scaled"]
    assert rows[1].endswith("| 25.0% | 100.0% | 100.0% | 0.500 (0.500 / 0.500) | 0.300 (0.200 / 0.400) |")

    picture = tmp_path / "masks.png"
    monkeypatch.setattr(sys, "argv", ["draw_first_masks", str(finished), "--output", str(picture)])
    draw_first_masks.main()
    assert picture.stat().st_size > 10_000
    assert "| `uniform`, 75% | AdamW 0.001, 2 epochs | scaled | " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["draw_first_masks", str(tmp_path)])
    with pytest.raises(SystemExit, match="expected a folder with folders of runs"):
        draw_first_masks.main()
    (tmp_path / "clean").mkdir()
    write_record(tmp_path / "clean" / "record.json", example_record(metrics=dict.fromkeys(SIDES, network(0.4, None))))
    with pytest.raises(SystemExit, match="clean: expected a run that was attacked"):
        draw_first_masks.main()
