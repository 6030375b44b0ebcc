"""The script as a process, where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from hydra_det.records.record import write_record
from tests.reports.example import grid
from tests.reports.page.test_page import read

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = f"""
import importlib.abc, runpy, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {{"torch", "torchvision", "torchmetrics", "pytorch_lightning", "captum"}}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(ROOT)!r})
sys.argv[0] = "report.py"
runpy.run_path({str(ROOT / "report.py")!r}, run_name="__main__")
"""


def report(*words, folder):
    command = [sys.executable, "-c", WITHOUT_TORCH, *words, f"hydra.run.dir={folder}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep with an unreadable record and one picture, one run beside it, and the report of both."""
    root = tmp_path_factory.mktemp("report")
    records = grid(["scaled, weight", "scaled, kernel"], ratios=[0.0, 0.9], seeds=[0, 1])
    for name, record in records.items():
        write_record(root / "sweep" / name / "record.json", record)
    ((_, more),) = grid(["scaled, weight"], ratios=[0.9], seeds=[2]).items()
    write_record(root / "more" / "run" / "record.json", more)
    samples = root / "sweep" / next(iter(records)) / "pruned" / "samples"
    samples.mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(samples / "5_attacked.jpg")
    (root / "sweep" / "broken").mkdir()
    (root / "sweep" / "broken" / "record.json").write_text("{")
    records = {f"sweep/{name}": records[name] for name in sorted(records)} | {"more/run": more}
    return records, report(f"runs=[{root / 'sweep'},{root / 'more'}]", "paper=true", folder=root / "out"), root


def test_everything_is_written(done):
    records, process, root = done
    assert process.returncode == 0, process.stderr
    out = root / "out"
    frame = pd.read_csv(out / "runs.csv")
    assert frame["folder"].tolist() == list(records)
    assert frame["map_attacked_pruned"].tolist() == [
        record.metrics["pruned"]["attacked"]["coco"]["map"] for record in records.values()
    ]
    assert len(pd.read_csv(out / "cells.csv")) > 4
    assert set(pd.read_csv(out / "comparisons.csv")["ratio"]) == {0.0, 0.9}
    answers = pd.read_csv(out / "claims.csv")
    assert answers.loc[answers["answer"] != "not tested", "metric"].tolist() == [
        *("map_attacked", "speed_up_masked", "speed_up")
    ], "weights and kernels, with the scores of HYDRA"
    assert {path.name for path in (out / "tables").glob("claims.*")} == {"claims.md", "claims.tex", "claims.csv"}
    assert list((out / "tables").glob("*.tex"))
    for name in ("ap_attacked", "paper_map", "kept_scaled_kernel", "difference_map_attacked"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / "figures" / f"{name}.svg").read_text().startswith("<?xml")
    assert (out / "figures" / "samples_attacked.jpg").exists()
    assert not (out / "figures" / "samples_clean.jpg").exists()
    assert not list(out.rglob("*.tmp"))


def test_the_page_and_the_terminal_warn_of_what_could_not_be_read(done):
    _, process, root = done
    source = (root / "out" / "report.html").read_text(encoding="utf-8")
    words = " ".join(read(source).words)
    assert "broken is left out" in words
    assert "Test image 5, attacked" in words
    assert "3 tiles have no picture" in words
    assert "broken is left out" in " ".join(process.stdout.split())
    assert "AP attacked, mean" in process.stdout


@pytest.mark.parametrize("words", [["runs=nowhere"], []])
def test_bad_input_is_one_line_and_leaves_nothing(words, tmp_path):
    process = report(*words, folder=tmp_path / "out")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.count("error: runs: expected") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"failed.txt", "report.log", ".hydra"}
