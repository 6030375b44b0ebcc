"""What the step that ours is compared with computes, and what it does not."""

from typing import Any

import pytest
import torch

from benchmarks import score_step
from benchmarks.score_step import SortingConv2d, reference_step
from benchmarks.subjects import network, random_batch

STEPS = 2


def test_the_reference_sorts_in_every_pass_and_computes_gradients_of_scores_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, passes = score_step._TopK, {"forward": 0, "backward": 0}

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(*given: Any) -> Any:
            passes["forward"] += 1
            return plain.forward(*given)

        @staticmethod
        def backward(*given: Any) -> Any:
            passes["backward"] += 1
            return plain.backward(*given)

    net = network("yolov3_nano")
    step = reference_step(net, random_batch(1, 32, "cpu"), STEPS)
    layers = sum(type(module) is SortingConv2d for module in net.modules())
    monkeypatch.setattr(score_step, "_TopK", Counted)
    step()
    assert passes == {"forward": (STEPS + 1) * layers, "backward": layers}
