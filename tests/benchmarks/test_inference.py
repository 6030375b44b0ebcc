"""Runtimes are timed only where they answer as PyTorch does."""

import math

import pytest
import torch

from benchmarks.inference import difference


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
    """A network that only the recorded pass holds, whose memory another one would take."""
    from benchmarks.inference import Graphed, eager

    net, image = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3)).cuda().eval(), torch.rand(1, 3, 64, 64).cuda()
    wanted = net(image)
    graph = Graphed(lambda: [eager(net, image, channels_last=True)()])  # type: ignore[list-item]
    taken = [torch.full((size,), math.nan, device="cuda") for size in (64, 1728, 12288, 262144)]
    assert difference(graph(), [wanted]) < 1e-3
    del taken
