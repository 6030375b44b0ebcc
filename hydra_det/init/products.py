"""DeepLIFT through products of two things that both depend on the images.

The difference of a product is shared by the midpoint rule, which misses nothing and treats both factors alike:

    x * y - x0 * y0 = (x - x0) * (y + y0) / 2 + (y - y0) * (x + x0) / 2

It is what each factor adds on average, whichever of the two changes first (Shapley's value of two players; Ancona et
al. 2019, arXiv 1903.10992). Squeeze-and-excite is such a product. So is a normalisation by statistics of the image
itself: the values times a factor that all of them decide together.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from hydra_det.init.rules import Linear, Rule
from hydra_det.modules.norms import L2Norm

TINY = 1e-24  # the square of the smallest norm that `L2Norm` divides by


def product(one: Tensor, other: Tensor, one_before: Tensor, other_before: Tensor) -> Tensor:
    """`one * other`, with the multipliers of the midpoint rule. Shapes as for `*`"""
    output = (one * other).detach()
    return Linear.apply(
        output,
        one.expand_as(output),
        (other + other_before).detach() / 2 + torch.zeros_like(output),
        other.expand_as(output),
        (one + one_before).detach() / 2 + torch.zeros_like(output),
    )


def excitation(block: SqueezeExcitation, values: Tensor) -> Tensor:
    """What squeeze-and-excite multiplies a map by. [B, C, H, W] -> [B, C, 1, 1]"""
    squeezed = block.activation(block.fc1(block.avgpool(values)))
    factor: Tensor = block.scale_activation(block.fc2(squeezed))
    return factor


def excited(block: SqueezeExcitation, values: Tensor, seen: deque[Tensor]) -> Tensor:
    """The output of squeeze-and-excite; `seen` begins with its input on the reference, and with its factor there."""
    before, factor_before = seen.popleft(), seen.popleft()
    return product(excitation(block, values), values, factor_before, before)


def normalised(layer: nn.GroupNorm | L2Norm, values: Tensor, before: Tensor, rule: Rule) -> Tensor:
    """What a layer makes of values that it divides by their own size. [B, C, H, W]"""
    if isinstance(layer, L2Norm):
        return _by_own_length(values, before, rule)
    groups = (layer.num_groups, -1)

    def centred(maps: Tensor) -> Tensor:
        grouped = maps.reshape(len(maps), *groups)
        return grouped - grouped.mean(2, keepdim=True)

    def inverse(variance: Tensor) -> Tensor:
        return (variance + layer.eps).rsqrt()

    found = _by_own_size(
        centred(values), centred(before), lambda squares: squares.mean(2, keepdim=True), inverse, rule
    ).view_as(values)
    if layer.weight is None:
        return found
    return found * layer.weight.detach().view(-1, 1, 1) + layer.bias.detach().view(-1, 1, 1)


def _by_own_size(
    values: Tensor,
    before: Tensor,
    size: Callable[[Tensor], Tensor],
    factor: Callable[[Tensor], Tensor],
    rule: Rule,
) -> Tensor:
    """`values * factor(size(values ** 2))`"""
    here, there = size(rule.activate(torch.square, values, before)), size(before.square())
    return product(values, rule.activate(factor, here, there), before, factor(there))


def _by_own_length(values: Tensor, before: Tensor, rule: Rule) -> Tensor:
    """`values / |values|` over the channels. Any factor makes zeros of zeros: there it is the one of the other side."""
    here = rule.activate(torch.square, values, before).sum(1, keepdim=True)
    there = before.square().sum(1, keepdim=True)
    both = (here.detach() > TINY) & (there > TINY)
    longer = torch.maximum(here.detach(), there).clamp(min=TINY).rsqrt()
    alike = there.new_ones(()).expand_as(here)
    inverse = rule.activate(torch.rsqrt, torch.where(both, here, alike), torch.where(both, there, alike))
    other = torch.where(both, there.clamp(min=TINY).rsqrt(), longer)
    return product(values, torch.where(both, inverse, longer), before, other)
