"""What the benchmark of sparse masks says beside the times."""

import pytest
import torch
from torch import nn

from benchmarks.sparse import _paper, masked, operations
from benchmarks.subjects import network
from hydra_det.compaction.compact import as_graph


def test_operations_are_those_of_weights_that_are_left() -> None:
    net = network("yolov3_nano")
    dense = operations(net, 64)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data[:] = torch.where(torch.arange(layer.weight.numel()) % 2 == 0, 1.0, 0.0).view_as(
                layer.weight
            )
    assert operations(net, 64) == pytest.approx(dense / 2, rel=1e-3)


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_masks_leave_what_the_ratio_says(granularity: str) -> None:
    assert operations(as_graph(masked("yolov3_nano", granularity, "uniform", 0.75)), 64) == pytest.approx(
        operations(network("yolov3_nano"), 64) / 4, rel=0.01
    )


def test_the_papers_ratio_stands_beside_uniform_masks_only() -> None:
    assert _paper("weight, uniform, 90%") == 2.36
    assert _paper("kernel, uniform, 90%") == 4.7
    assert _paper("kernel, erk, 90%") is None
    assert _paper("trained, outputs/runs/a") is None
