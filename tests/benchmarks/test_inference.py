"""Runtimes are timed only where they answer as PyTorch does."""

import math

import pytest
import torch
from torch import nn

from benchmarks.inference import Graphed, difference, eager


def test_the_largest_difference_of_any_map() -> None:
    wanted = [torch.tensor([1.0, -4.0]), torch.tensor([10.0])]
    assert difference([torch.tensor([1.0, -3.0]), torch.tensor([10.5])], wanted) == pytest.approx(0.25)


@pytest.mark.parametrize("place", [0, 1])
def test_nan_in_any_map_is_seen(place: int) -> None:
    wanted = [torch.ones(2), torch.ones(2)]
    answers = [torch.ones(2), torch.ones(2)]
    answers[place][1] = math.nan
    assert math.isnan(difference(answers, wanted))


@pytest.mark.gpu
def test_a_graph_keeps_what_its_kernels_read() -> None:
    """The copy in channels_last belongs to the recorded pass alone; freed, its memory would be taken here."""
    net = OneMap().cuda().eval()
    image = torch.rand(1, 3, 64, 64, device="cuda")
    with torch.no_grad():
        wanted = net(image)
    graph = Graphed(eager(net, image, channels_last=True))
    taken = [torch.full((size,), math.nan, device="cuda") for size in (64, 1728, 12288, 262144)]
    assert difference(graph(), wanted) < 1e-3
    assert all(values.isnan().all() for values in taken)


class OneMap(nn.Module):
    """A network of one convolution, with a list of maps as detectors return it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 64, 3)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """[B, 3, H, W] -> one map"""
        return [self.convolution(images)]
