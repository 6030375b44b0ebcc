"""RevealCancel by hand: the examples of Shrikumar et al. (arXiv 1704.02685), and their formulas neuron by neuron."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_det.init.contributions import contributions
from hydra_det.init.rules import RULES, Rescale, RevealCancel

Array = NDArray[np.float64]


def once(raw: Sequence[Tensor], _reference: Sequence[Tensor]) -> list[Tensor]:
    return [torch.ones_like(maps) for maps in raw]


class Minimum(nn.Module):
    """min(a, b) = a - relu(a - b) of two channels; for a, b in {0, 1} their AND (section 3.4.2 of the paper)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.difference, self.out = (nn.Conv2d(*sizes, 1, bias=False) for sizes in ((2, 2), (2, 1), (2, 1)))
        self.relu = nn.ReLU()
        with torch.no_grad():
            self.entry.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
            self.difference.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
            self.out.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        entered = self.entry(images)
        over = self.relu(self.difference(entered))
        return [self.out(torch.cat([entered[:, :1], over], dim=1))]


def shares(rule: Any, first: float, second: float) -> list[float]:
    """What each of the two inputs contributes to their minimum, from 0."""
    images = torch.tensor([first, second], dtype=torch.float64).view(1, 2, 1, 1)
    found = contributions(Minimum().double(), images, torch.zeros_like(images), coefficients=once, rule=rule)
    assert found.gap < 1e-12
    return found.weights["entry"][[0, 1], [0, 1], 0, 0].tolist()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 1), (1, 3), (0.5, 4)])
def test_both_inputs_have_half_of_their_minimum(first, second):
    assert shares(RevealCancel(), first, second) == pytest.approx([min(first, second) / 2] * 2)


@pytest.mark.parametrize(("first", "second"), [(3, 1), (1, 3)])
def test_the_rescale_rule_gives_all_of_it_to_the_smaller_one(first, second):
    expected = [first, 0] if first < second else [0, second]
    assert shares(Rescale(), first, second) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (0, 0)])
def test_and_of_a_zero_is_nothing(first, second):
    assert sum(shares(RevealCancel(), first, second)) == pytest.approx(0)


def by_hand(weights: Sequence[Array], scales: Array, shifts: Array, inputs: Array, reference: Array) -> list[Array]:
    """The formulas of section 3.5.3, of two dense layers with a scaled leaky unit between."""
    first, last = weights[0] * scales[:, None], weights[1]  # a scale is a part of its layer

    def unit(value: float) -> float:
        return value if value > 0 else 0.1 * value

    found = [np.zeros_like(weights[0]), np.zeros_like(weights[1])]
    for neuron in range(len(first)):
        start = float(first[neuron] @ reference + shifts[neuron])
        parts = first[neuron] * (inputs - reference)
        up, down = parts[parts > 0].sum(), parts[parts < 0].sum()
        both = unit(start + up + down)
        out_up = (unit(start + up) - unit(start) + both - unit(start + down)) / 2
        out_down = (unit(start + down) - unit(start) + both - unit(start + up)) / 2
        found[1][0, neuron] = last[0, neuron] * (both - unit(start))
        for place, part in enumerate(parts):
            if part:
                found[0][neuron, place] = last[0, neuron] * part * (out_up / up if part > 0 else out_down / down)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_formulas_of_the_paper(seed):
    torch.manual_seed(seed)
    hidden, last = nn.Conv2d(5, 7, 1, bias=False), nn.Conv2d(7, 1, 1)
    norm = nn.BatchNorm2d(7)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1.5, 1.2, 7))  # a negative scale turns what raises into what lowers
        norm.bias.normal_()
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        norm.running_mean.normal_()  # type: ignore[union-attr]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.norm, self.last = hidden, norm, last
            self.activation = nn.LeakyReLU(0.1, inplace=True)

        def forward(self, images: Tensor) -> list[Tensor]:
            return [self.last(self.activation(self.norm(self.hidden(images))))]

    net = Net().double().eval()
    images, reference = torch.randn(2, 1, 5, 1, 1, dtype=torch.float64)
    images[0, 2] = reference[0, 2]
    found = contributions(net, images, reference, coefficients=once, rule=RevealCancel())
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = by_hand(
        [layer.weight.detach().flatten(1).numpy() for layer in (hidden, last)],
        scale.detach().numpy(),
        (norm.bias - scale * norm.running_mean).detach().numpy(),
        images.flatten().numpy(),
        reference.flatten().numpy(),
    )
    for key, values in zip(("hidden", "last"), expected, strict=True):
        np.testing.assert_allclose(found.weights[key].flatten(1).numpy(), values, rtol=1e-9)


@pytest.mark.parametrize(("value", "expected"), [
    (1.5, 2 * 16 - 3 * 7),  # the input rose: weight 2 raises, weight -3 lowers
    (0.5, 2 * 5 - 3 * 20),  # it fell: the other way round
    (1.0, (2 * 16 - 3 * 7 + 2 * 5 - 3 * 20) / 2),  # it did not change: half of each (section 3.5.1)
])  # fmt: skip
def test_gradient_of_a_convolution(value, expected):
    layer = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
    rule = RevealCancel()
    pixels = torch.full((1, 1, 1, 1), value, requires_grad=True)
    output = rule.convolve(layer, pixels, torch.ones(1, 1, 1, 1), lambda contribution: None)
    assert rule.pending is not None
    # Multipliers of the lowering parts 5 and 7, of the raising parts 5 + 11 and 7 + 13.
    multipliers = [torch.tensor(pair).view(1, 2, 1, 1) for pair in ([5.0, 7.0], [11.0, 13.0])]
    (gradient,) = torch.autograd.grad([output, rule.pending[2]], pixels, multipliers)
    assert gradient.item() == pytest.approx(expected)


@pytest.mark.parametrize("settings", [
    {"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": 3, "groups": 2}, {"kernel_size": 2, "dilation": 2},
])  # fmt: skip
def test_convolutions_of_every_kind(settings):
    """Where no input falls and no weight is negative nothing cancels: both rules agree, and both are complete."""
    torch.manual_seed(0)
    net = nn.ModuleList([nn.Conv2d(4, 6, **settings), nn.Tanh(), nn.Conv2d(6, 2, 1)]).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = net

        def forward(self, images: Tensor) -> list[Tensor]:
            return [nn.Sequential(*self.parts)(images)]

    images = torch.rand(2, 4, 9, 9, dtype=torch.float64)
    made = {
        name: contributions(Net(), images, 0 * images, coefficients=once, rule=rule()) for name, rule in RULES.items()
    }
    for key, values in made["rescale"].weights.items():
        torch.testing.assert_close(made["reveal_cancel"].weights[key], values)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(torch.randn_like(parameter).sign())
    found = contributions(Net(), images, 1 - images, coefficients=once, rule=RevealCancel())
    assert found.gap < 1e-9
    assert found.weights["parts.0"].sum().item() == pytest.approx(found.differences.sum().item())
