"""DeepLIFT's rules (Shrikumar et al. 2017, arXiv 1704.02685): how a difference from the reference passes a module.

A module gets its input on the images and the input that it had on the reference. It computes the same output as ever;
only its gradient is replaced, by the multipliers of the rule. `add` takes what the weights of a convolution contribute.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from hydra_det.modules.masked_conv import MaskedConv2d

Function = Callable[[Tensor], Tensor]  # elementwise
BatchNorm = nn.modules.batchnorm._BatchNorm  # of every kind: also the one that is synchronised over processes


class Rule(Protocol):
    """How differences pass convolutions, normalisation and activations. One object serves one pass at a time."""

    def convolve(self, layer: nn.Conv2d, images: Tensor, reference: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        """The output of a convolution; `add` gets weight * d(target), in the shape of the weight, going backward."""
        ...

    def normalise(self, layer: BatchNorm, images: Tensor) -> Tensor:
        """The output of BatchNorm in eval mode."""
        ...

    def activate(self, function: Function, images: Tensor, reference: Tensor) -> Tensor:
        """The output of an activation."""
        ...


class Rescale:
    """One multiplier for an activation: difference of its outputs over difference of its inputs."""

    def convolve(self, layer: nn.Conv2d, images: Tensor, reference: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        """See `Rule`."""
        weight = effective_weight(layer)
        output = layer._conv_forward(images, weight, layer.bias)
        if output.requires_grad:  # else it does not depend on the images
            output.register_hook(lambda m: add(weight * weight_gradient(layer, images.detach() - reference, m)))
        return output

    def normalise(self, layer: BatchNorm, images: Tensor) -> Tensor:
        """See `Rule`."""
        return normalise(layer, images)

    def activate(self, function: Function, images: Tensor, reference: Tensor) -> Tensor:
        """See `Rule`."""
        with torch.no_grad():
            output = function(images)
            multiplier = quotient(output - function(reference), images, reference, lambda: slope(function, images))
        return Linear.apply(output, images, multiplier)


class RevealCancel:
    """Two multipliers for an activation: one for what raises its input, one for what lowers it.

    They reveal what cancels: of two inputs of which the smaller decides, both get a part. Every convolution computes
    the raising part of its output too, and has four gradients where others have one: a pass takes about three times as
    long as with `Rescale`.
    """

    def __init__(self) -> None:
        # The latest output of a convolution or its BatchNorm, its version, and how much of its difference raises it.
        self.pending: tuple[Tensor, int, Tensor] | None = None

    def convolve(self, layer: nn.Conv2d, images: Tensor, reference: Tensor, add: Callable[[Tensor], None]) -> Tensor:
        """See `Rule`."""
        output, raising = _SignedConvolution.apply(images, reference, layer, add)
        self.pending = output, output._version, raising
        return output

    def normalise(self, layer: BatchNorm, images: Tensor) -> Tensor:
        """See `Rule`. A part of the convolution before it; with a negative scale what raised is what lowers now.

        That swap needs no care: the two parts are treated alike.
        """
        output, raising = normalise(layer, images), self._raising(images)
        if raising is not None:
            self.pending = output, output._version, _scale(layer) * raising
        return output

    def activate(self, function: Function, images: Tensor, reference: Tensor) -> Tensor:
        """See `Rule`. An input that no convolution made is raised or lowered as a whole: the rescale rule."""
        raising = self._raising(images)
        if raising is None:
            return Rescale().activate(function, images, reference)
        with torch.no_grad():
            lowered, raised = images - raising, reference + raising  # with the other part of the difference alone
            output, before = function(images), function(reference)
            after_raising, after_lowering = function(raised), function(lowered)
            up = (after_raising - before + output - after_lowering) / 2
            down = (after_lowering - before + output - after_raising) / 2

            def middle() -> Tensor:
                return (slope(function, images) + slope(function, reference)) / 2

            for_raising = quotient(up, raised, reference, middle)
            for_lowering = quotient(down, lowered, reference, middle)
        self.pending = None
        return Linear.apply(output, images, for_lowering, raising, for_raising - for_lowering)

    def _raising(self, images: Tensor) -> Tensor | None:
        """Of an output as the convolution left it; nobody has written over it since."""
        if self.pending is None or self.pending[0] is not images or self.pending[1] != images._version:
            return None
        return self.pending[2]


RULES: dict[str, Callable[[], Rule]] = {"rescale": Rescale, "reveal_cancel": RevealCancel}


def max_pool(layer: nn.MaxPool2d, images: Tensor, reference: Tensor) -> Tensor:
    """Max pooling whose gradient goes to the one input that the difference of the maxima can be put down to.

    Where the maximum rose, that is its place in the images, else its place in the reference. There the difference of
    the input is at least as large as that of the maxima, so the multiplier is a share in [0, 1].
    """
    settings: dict[str, Any] = {
        "stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "ceil_mode": layer.ceil_mode,
    }  # fmt: skip
    with torch.no_grad():
        output, here = F.max_pool2d(images, layer.kernel_size, **settings, return_indices=True)
        before, there = F.max_pool2d(reference, layer.kernel_size, **settings, return_indices=True)
        place = torch.where(output >= before, here, there).flatten(2)
        moved = (images - reference).flatten(2).gather(2, place).view_as(output)
        share = torch.where(moved == 0, 1, (output - before) / moved)
    return Linear.apply(output, images.flatten(2).gather(2, place).view_as(output), share)


def quotient(difference: Tensor, value: Tensor, reference: Tensor, limit: Callable[[], Tensor]) -> Tensor:
    """`difference / (value - reference)`, and where the two are too close for that, the limit."""
    moved = value - reference
    # Of a difference this small, rounding leaves half of the digits at most.
    close = moved.abs() <= torch.finfo(value.dtype).eps ** 0.5 * (value.abs() + reference.abs())
    exact = difference / moved
    return torch.where(close, limit(), exact) if close.any() else exact


def slope(function: Function, values: Tensor) -> Tensor:
    """The derivative of an elementwise function."""
    with torch.enable_grad():
        at = values.detach().requires_grad_()
        return torch.autograd.grad(function(at).sum(), at)[0]


def effective_weight(layer: nn.Conv2d) -> Tensor:
    """The weight that a convolution, masked or not, computes with."""
    return (layer.effective_weight() if isinstance(layer, MaskedConv2d) else layer.weight).detach()


def weight_gradient(layer: nn.Conv2d, images: Tensor, gradient: Tensor) -> Tensor:
    """Gradient to the weight of a convolution from that of its output. [O, I/groups, kH, kW]"""
    shape = list(layer.weight.shape)
    return conv2d_weight(images, shape, gradient, layer.stride, layer.padding, layer.dilation, layer.groups)


def normalise(layer: BatchNorm, images: Tensor) -> Tensor:
    """BatchNorm as its class computes it."""
    return type(layer).forward(layer, images)


def _scale(layer: BatchNorm) -> Tensor:
    """What BatchNorm in eval mode multiplies each channel by. [C, 1, 1]"""
    assert layer.running_var is not None
    scale = (layer.running_var + layer.eps).rsqrt()
    return (scale if layer.weight is None else scale * layer.weight.detach()).view(-1, 1, 1)


class Linear(torch.autograd.Function):
    """A known output with a chosen gradient: (output, input, multiplier, input, multiplier, ...) -> output"""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *inputs_and_multipliers: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs_and_multipliers[1::2])
        ctx.mark_dirty(output)  # it is handed through: what comes next may write over it
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        to_inputs = [(gradients[0] * multiplier, None) for multiplier in ctx.saved_tensors]
        return (None, *(gradient for pair in to_inputs for gradient in pair))


class _SignedConvolution(torch.autograd.Function):
    """A convolution, and the part of its difference from the reference that is made of raising products alone.

    A product of a weight and a difference raises the output where both have the same sign.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, reference: Tensor, layer: nn.Conv2d, add: Callable[[Tensor], None]
    ) -> tuple[Tensor, Tensor]:
        weight, moved = effective_weight(layer), images - reference
        ctx.layer, ctx.add, ctx.moved = layer, add, moved
        ctx.set_materialize_grads(False)
        raising = layer._conv_forward(moved.clamp(min=0), weight.clamp(min=0), None)
        raising += layer._conv_forward(moved.clamp(max=0), weight.clamp(max=0), None)
        return layer._conv_forward(images, weight, layer.bias), raising

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None, None]:
        layer, moved, weight = ctx.layer, ctx.moved, effective_weight(ctx.layer)
        down = gradients[0]  # the multiplier of the lowering part
        assert down is not None
        up = down if gradients[1] is None else down + gradients[1]

        def to_input(part: Tensor, gradient: Tensor) -> Tensor:
            places: tuple[Any, ...] = (layer.stride, layer.padding, layer.dilation, layer.groups)
            return conv2d_input(list(moved.shape), part, gradient, *places)

        def to_weight(part: Tensor, gradient: Tensor) -> Tensor:
            return weight_gradient(layer, part, gradient)

        rising, falling = moved.clamp(min=0), moved.clamp(max=0)
        positive, negative = weight.clamp(min=0), weight.clamp(max=0)
        if up is down:  # no activation follows: a head
            ctx.add(weight * to_weight(moved, up))
            return to_input(weight, up), None, None, None
        ctx.add(
            positive * (to_weight(rising, up) + to_weight(falling, down))
            + negative * (to_weight(falling, up) + to_weight(rising, down))
        )
        where_rising = to_input(positive, up) + to_input(negative, down)
        where_falling = to_input(negative, up) + to_input(positive, down)
        unmoved = (where_rising + where_falling) / 2
        answer = torch.where(moved > 0, where_rising, torch.where(moved < 0, where_falling, unmoved))
        return answer, None, None, None
