"""Counts against those of torch, which watches every operation."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hydra_det.compaction.compact import compact
from hydra_det.compaction.counts import count_flops, count_parameters
from hydra_det.modules.masked_conv import make_masked
from tests.compaction.example import with_masks
from tests.modules.example import ARCHITECTURES, network


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [64, 160])
@pytest.mark.parametrize("small", [False, True])
def test_operations_are_those_that_torch_counts(name, size, small):
    net = compact(with_masks(name, "filter_group", 0.8)).network if small else network(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, 3, size, size))
    assert count_flops(net, size) == counter.get_total_flops()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_those_of_the_dense_network(name):
    dense = sum(p.numel() for p in network(name).parameters())
    assert count_parameters(network(name)) == count_parameters(make_masked(network(name))) == dense


def test_a_mask_saves_no_operation():
    assert count_flops(with_masks("yolov3", "weight", 0.9), 64) == count_flops(network("yolov3"), 64)
