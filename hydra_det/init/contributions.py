"""What every weight contributes to a target: DeepLIFT for weights, all layers in one pass.

For a weight w of a convolution, an input channel i and an output channel o:

    C(w_oik) = w_oik * sum over images n and positions p of  m[y_o(n, p) -> t] * (x_i(n, p * stride + k) - xref_i(...))

m is DeepLIFT's multiplier of the convolution's output. The network runs on the reference first, and every module keeps
what came in; then on the images, and every module knows both. Backward goes over the images alone.

Captum's `DeepLift`, with its `gradient_func` replaced by gradients to the weights, gives the same numbers: it is the
oracle of the tests. It is not used here, since it sends the images and as many copies of the reference through the
network together, forward *and* backward; it refuses a module that is used twice; it is wrong in max pooling whose
windows overlap; and the difference of two large sums that it forms for every weight costs digits in float32.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d, SqueezeExcitation

from hydra_det.init.products import excitation, excited, normalised
from hydra_det.init.rules import BatchNorm, Function, Rule, max_pool
from hydra_det.modules.entry import Entry
from hydra_det.modules.masked_conv import MaskedConv2d
from hydra_det.modules.norms import L2Norm
from hydra_det.modules.raw_maps import detached, tensors_of
from hydra_det.types import InputError

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.PReLU,
)  # fmt: skip
# Modules that add and multiply by constants: their gradient is their multiplier.
LINEAR = (
    nn.Upsample, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d,
    nn.ReplicationPad2d, nn.PixelShuffle, nn.ConvTranspose2d, nn.Linear, nn.Identity, nn.Flatten, FrozenBatchNorm2d,
    Entry,
)  # fmt: skip
BY_OWN_SIZE = (nn.GroupNorm, L2Norm)  # they divide values by their own size
Forward = Callable[[Tensor], Tensor]


class Contributions(NamedTuple):
    """What explains the difference of a target between images and their reference."""

    weights: dict[str, Tensor]  # by name of the convolution, in the shape of its weight; sums over the images
    pixels: Tensor  # [B, C, H, W] what every value of the images contributes
    differences: Tensor  # [B] target of each image less target of its reference

    @property
    def missed(self) -> Tensor:
        """What the contributions of the pixels miss of the differences, over all images; 0 up to rounding."""
        return (self.pixels.flatten(1).sum(1) - self.differences).abs().sum()

    @property
    def whole(self) -> Tensor:
        """The size of the differences, over all images."""
        return self.differences.abs().sum()

    @property
    def gap(self) -> float:
        """`missed / whole`: about 1e-6 in float32 if the rules hold in every module."""
        return relative(self.missed, self.whole)


def relative(missed: Tensor, whole: Tensor) -> float:
    """`missed / whole`; 0 where nothing is missed of nothing."""
    return 0.0 if missed == 0 else (missed / whole).item()


def contributions(
    network: nn.Module,
    images: Tensor,
    reference: Tensor,
    *,
    coefficients: Callable[[Any, Any], list[Tensor]],
    rule: Rule,
) -> Contributions:
    """What every weight of every convolution contributes to the sum of `coefficients * raw maps`.

    Args:
        network: images -> raw maps, with every batch norm in eval mode; is left as it was.
        images: [B, C, H, W].
        reference: [1, C, H, W] for all images, or [B, C, H, W].
        coefficients: from the raw maps of the images and of the reference; how much each entry counts, for each of
            their tensors.
        rule: of activations.

    Raises:
        InputError: the reference has another shape, or a convolution pads otherwise than with a number of zeros.
    """
    if reference.shape not in {images.shape, (1, *images.shape[1:])}:
        raise InputError(
            f"reference: expected the shape of the images {list(images.shape)}, or the same with one image, "
            f"got {list(reference.shape)}"
        )
    for name, module in network.named_modules():
        if isinstance(module, MaskedConv2d) and not _is_convolution(module):
            raise InputError(
                f"{name}: expected a convolution padded with a number of zeros, got {module}; "
                "pad before it, or leave it dense by prune.exclude"
            )
    seen: dict[nn.Module, deque[Tensor]] = {}
    with torch.no_grad(), _exact(), _computing(network, lambda _, module: _keep(module, seen)):
        raw_reference = network(reference)
    weights: dict[str, Tensor] = {}
    with (
        torch.enable_grad(),
        _exact(),
        _computing(network, lambda name, module: _explain(name, module, seen, rule, weights)),
    ):
        pixels = images.detach().requires_grad_()
        raw = network(pixels)
        counts = coefficients(detached(raw), raw_reference)
        moving = [(maps, count) for maps, count in zip(tensors_of(raw), counts, strict=True) if maps.requires_grad]
        (multipliers,) = torch.autograd.grad([maps for maps, _ in moving], pixels, [count for _, count in moving])
    both = zip(tensors_of(detached(raw)), tensors_of(raw_reference), counts, strict=True)
    moved = [(maps - before) * count for maps, before, count in both]
    return Contributions(
        weights,
        pixels=multipliers * (images - reference),
        differences=torch.stack([level.flatten(1).sum(1) for level in moved]).sum(0),
    )


def likely_causes(network: nn.Module) -> list[str]:
    """Why the contributions of a network are not complete, a phrase each."""
    causes = []
    known = (nn.Conv2d, BatchNorm, nn.MaxPool2d, nn.Dropout, *ELEMENTWISE, *LINEAR, *BY_OWN_SIZE)
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm | nn.Dropout) and module.training:
            causes.append(f"{name} ({type(module).__name__}) is in train mode")
        elif not isinstance(module, known) and not list(module.children()) and not _is_apart(module):
            causes.append(f"{name} ({type(module).__name__}) has no rule")
    return causes or ["does a function such as F.relu, exp or a product stand in a forward where a module should be?"]


def _is_apart(module: nn.Module) -> bool:
    """Whether a module needs no rule: torchvision's anchors, its resizing, its pooling of regions, its last level."""
    homes = ("torchvision.models.detection.", "torchvision.ops.poolers", "torchvision.ops.feature_pyramid_network")
    return type(module).__module__.startswith(homes)


def _keep(module: nn.Module, seen: dict[nn.Module, deque[Tensor]]) -> Forward | None:
    """Compute as ever, and remember the input, and what it is multiplied by."""
    if isinstance(module, SqueezeExcitation):

        def excite(values: Tensor) -> Tensor:
            factor = excitation(module, values)
            seen.setdefault(module, deque()).extend((values, factor))
            return factor * values

        return excite
    forward = _plain(module)
    if forward is None:
        return None

    def keeping(values: Tensor) -> Tensor:
        seen.setdefault(module, deque()).append(values)
        return forward(values)

    return keeping


def _explain(
    name: str, module: nn.Module, seen: Mapping[nn.Module, deque[Tensor]], rule: Rule, weights: dict[str, Tensor]
) -> Forward | None:
    """Compute as ever, with the gradients of the rule. A module that is used again meets its next input."""
    if _is_convolution(module):

        def add(values: Tensor) -> None:
            weights[name] = weights[name] + values if name in weights else values

        return lambda values: rule.convolve(module, values, seen[module].popleft(), add)
    if isinstance(module, BatchNorm):
        return lambda values: rule.normalise(module, values)
    forward: Forward | None = None
    if isinstance(module, nn.MaxPool2d):
        forward = lambda values: max_pool(module, values, seen[module].popleft())  # noqa: E731
    elif isinstance(module, ELEMENTWISE):
        function = _out_of_place(module)
        forward = lambda values: rule.activate(function, values, seen[module].popleft())  # noqa: E731
    elif isinstance(module, BY_OWN_SIZE):
        forward = lambda values: normalised(module, values, seen[module].popleft(), rule)  # noqa: E731
    elif isinstance(module, SqueezeExcitation):
        forward = lambda values: excited(module, values, seen[module])  # noqa: E731
    return forward


def _plain(module: nn.Module) -> Forward | None:
    """What a module computes whose rule wants to know its input on the reference; None for all others."""
    if isinstance(module, ELEMENTWISE):
        return _out_of_place(module)
    return module.forward if _is_convolution(module) or isinstance(module, (nn.MaxPool2d, *BY_OWN_SIZE)) else None


def _is_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution whose weights can be scored; the rest of its kind is linear all the same."""
    if not isinstance(module, nn.Conv2d) or type(module).forward not in {nn.Conv2d.forward, MaskedConv2d.forward}:
        return False
    return isinstance(module.padding, tuple) and module.padding_mode == "zeros"


def _out_of_place(module: nn.Module) -> Function:
    """An activation that does not write over its input."""
    twin = copy(module)
    if getattr(twin, "inplace", False):
        twin.inplace = False  # type: ignore[assignment]
    return twin.forward


def _exact() -> AbstractContextManager[None]:
    """Convolutions in full float32: TF32, a GPU's default, has three digits, and sums would miss a percent."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)


@contextmanager
def _computing(network: nn.Module, forward: Callable[[str, nn.Module], Forward | None]) -> Iterator[None]:
    """Modules for which `forward` has another function compute with it inside; afterwards all are as before."""
    others: dict[nn.Module, Any] = {}
    for name, module in network.named_modules():
        function = forward(name, module)
        if function is not None:
            others[module] = function
    own = {module: vars(module)["forward"] for module in others if "forward" in vars(module)}
    try:
        for module, function in others.items():
            module.forward = function
        yield
    finally:
        for module in others:
            vars(module).pop("forward", None)
        for module, function in own.items():
            module.forward = function
