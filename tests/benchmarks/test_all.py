"""All benchmarks of a list: what is run, kept, named as failed, and what the lists say is there."""

import importlib
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from benchmarks import all as benchmarks_all
from benchmarks.all import main, run_all, run_one
from benchmarks.catalogue import LISTS, Benchmark
from benchmarks.subjects import random_batch
from tests.benchmarks.example import measured

GOOD = Benchmark("Is it fast?", "One beside the other.", "tests.benchmarks.example measured")
BAD = Benchmark("Is it there?", "Nothing.", "tests.benchmarks.example failed")
LISTED = {"good": GOOD, "bad": BAD}
EVERY = [pytest.param(device, name, id=f"{device} {name}") for device, names in LISTS.items() for name in names]


@pytest.fixture(autouse=True)
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (benchmarks_all, importlib.import_module("benchmarks.page")):
        monkeypatch.setattr(module, "LISTS", {"cpu": dict(LISTED)})
    monkeypatch.setattr(benchmarks_all, "SCRATCH", tmp_path / "scratch")


def test_a_failing_one_is_named_and_the_exit_code_is_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["all", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == f"failed: bad; the reasons are in {tmp_path / 'benchmarks.md'}"
    made = (tmp_path / "benchmarks.md").read_text()
    assert "**Failed: bad.**" in made
    assert "**Failed**: `the network is gone (exit code 1)`" in made
    numbers = json.loads((tmp_path / "benchmarks_cpu.json").read_text())
    assert numbers["good"]["measured"] == asdict(measured())
    assert numbers["good"]["command"] == "python -m tests.benchmarks.example measured"
    assert "bad: " in capsys.readouterr().out


def test_only_keeps_the_numbers_of_the_others(tmp_path: Path) -> None:
    assert run_all("cpu", folder=tmp_path) == ["bad"]
    path = tmp_path / "benchmarks_cpu.json"
    before = json.loads(path.read_text())
    before["good"]["date"] = "2031-05-06"
    path.write_text(json.dumps(before))
    assert run_all("cpu", ["bad"], folder=tmp_path) == ["bad"]
    assert json.loads(path.read_text())["good"] == before["good"]
    assert run_all("cpu", ["good"], folder=tmp_path) == []
    assert json.loads(path.read_text())["good"]["date"] != "2031-05-06"


def test_one_that_saves_nothing_has_failed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(asdict(measured())))  # of an earlier run
    found = run_one("tests.benchmarks.example unsaved", tmp_path / "a")
    assert found["measured"] is None
    assert "a.json" in found["failed"]


@pytest.mark.parametrize(
    ("how", "reason"), [("nan", "got nan as ms of ours (exit code 1)"), ("careless", "got -Infinity")]
)
def test_numbers_that_are_not_finite_are_a_failure(how: str, reason: str, tmp_path: Path) -> None:
    benchmarks_all.LISTS["cpu"][how] = Benchmark("How long?", "Nothing.", f"tests.benchmarks.example {how}")
    assert run_all("cpu", [how], folder=tmp_path) == [how]
    (found,) = json.loads((tmp_path / "benchmarks_cpu.json").read_text(), parse_constant=pytest.fail).values()
    assert found["measured"] is None
    assert found["failed"].endswith(reason)


def test_a_name_that_is_not_listed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["all", "--only", "goood"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


@pytest.mark.parametrize(("device", "name"), EVERY)
def test_a_listed_command_is_understood(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its module, its options and the variants that it names; nothing is timed, and no GPU is needed."""
    module_name, *words = shlex.split(LISTS[device][name].command)
    module = importlib.import_module(module_name)
    monkeypatch.setattr(sys, "argv", [module_name, *words, "--save", str(tmp_path / "a.json")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = module._options()
    options, overrides = found if isinstance(found, tuple) else (found, [])
    assert options.save == tmp_path / "a.json"
    assert getattr(options, "device", "cpu") == device
    assert all("=" in word for word in overrides)
    if getattr(options, "only", None):
        names = named_variants(module, monkeypatch)
        assert set(options.only) <= names


def named_variants(module: object, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Of a script that is stopped where it chooses among its variants."""
    found: set[str] = set()

    def stop(variants: dict[str, object], **_: object) -> None:
        found.update(variants)
        raise InterruptedError

    stand_ins = {"chosen": stop, "random_batch": lambda *_: random_batch(1, 32)}
    for name in ("chosen", "random_batch", "network", "season", "assigned"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, stand_ins.get(name, MagicMock()))
    with pytest.raises(InterruptedError):
        module.main()  # type: ignore[attr-defined]
    return found
