"""Every kind of step that a plan needs is there and does what its name says."""

import argparse

import pytest
import torch

from benchmarks import stage_times
from benchmarks.measured_steps import KINDS
from hydra_det.attacks.gradient import PGD


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_attacked_steps_attack_and_clean_ones_do_not(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    attacked = []

    class Watched(PGD):
        def __call__(self, *given, **options):
            attacked.append(torch.is_autocast_enabled("cpu"))
            return super().__call__(*given, **options)

    monkeypatch.setattr(stage_times, "ATTACK", Watched(epsilon=0.05, step_size=0.02, steps=1))
    options = argparse.Namespace(model="yolov3_nano", image_size=32, batch=2, device="cpu", precision=precision)
    steps = stage_times.kinds(options)
    assert tuple(steps) == KINDS
    half = precision == "bf16-mixed"
    for name, (images, step) in steps.items():
        if name == "average_precision":
            continue  # takes a while
        attacked.clear()
        step()
        # An evaluation is attacked in full precision, as in a run.
        assert attacked == ([half and name != "evaluate_attacked"] if name.endswith("attacked") else [])
        assert images == 2
