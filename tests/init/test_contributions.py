"""DeepLIFT for weights: the identities that define it, Captum as the oracle, and everything left as it was."""

import copy
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_det.init.contributions import ELEMENTWISE, Contributions, contributions, likely_causes
from hydra_det.init.references import REFERENCES
from hydra_det.init.rules import RULES, Rescale, max_pool
from hydra_det.init.targets import TARGETS, assigned
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import InputError
from tests.init.example import answering, disturbed
from tests.init.oracle import of_channels, one_pass
from tests.modules.example import NETWORKS, assert_untouched, batch, network, snapshot, unsettle
from tests.modules.own import Nested, Small

ALLOWED = {torch.float64: 1e-9, torch.float32: 1e-3}  # relative error


def convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


def explain(net: Any, *, reference: str = "padding", rule: str = "rescale", target: str = "assigned") -> Contributions:
    made = batch()
    before = made["images"].to(next(net.parameters()).dtype)
    images = disturbed(before) if reference == "clean" else before
    return contributions(
        net,
        images,
        REFERENCES[reference]([made], images.device)(images, before),
        coefficients=functools.partial(TARGETS[target], net, made["targets"]),
        rule=RULES[rule](),
    )


def whole(raw: Sequence[Tensor], _reference: Sequence[Tensor]) -> list[Tensor]:
    """Every output counts once."""
    return [torch.ones_like(maps) for maps in raw]


class Single(nn.Module):
    """A network with one raw map from any function of the images."""

    def __init__(self, *parts: nn.Module, forward: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = forward or (lambda images, *parts: nn.Sequential(*parts)(images))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.function(images, *self.parts)]


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_contributions_sum_to_the_difference_over_a_cut(name, reference, rule, dtype):
    net, allowed = answering(name, dtype=dtype), ALLOWED[dtype]
    first = next(iter(convolutions(net)))
    for target in TARGETS:
        found = explain(net, reference=reference, rule=rule, target=target)
        assert found.weights.keys() == convolutions(net).keys()
        # Within the size of what is summed: the differences of two images may nearly cancel.
        size = found.differences.abs().sum()
        assert size > 0.01, "there is something to explain"
        heads = torch.stack([values.sum() for key, values in found.weights.items() if "head" in key]).sum()
        of_images = found.pixels.flatten(1).sum(1)
        for summed in (of_images.sum(), found.weights[first].sum(), heads):
            assert abs(summed - found.differences.sum()) <= allowed * size
        torch.testing.assert_close(of_images, found.differences, rtol=0, atol=float(allowed * size))
        assert found.gap <= allowed


def test_the_difference_is_that_of_the_target():
    net, made = answering(dtype=torch.float64), batch()
    images = made["images"].double()
    found = explain(net)
    with torch.no_grad():
        here, there = (net.evidence(net(x), made["targets"]) for x in (images, torch.full_like(images, 0.5)))
    torch.testing.assert_close(found.differences, here - there)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor 0")
@pytest.mark.parametrize("name", ["yolov3", "yolov3_nano", "darknet_depthwise"])
def test_agreement_with_captum(name, dtype, allowed):
    net, made = answering(name, dtype=dtype), batch()
    images = made["images"].to(dtype)
    reference = torch.full_like(images[:1], 0.5)
    with torch.no_grad():
        counts = assigned(net, made["targets"], net(images), [])
    found = contributions(net, images, reference, coefficients=lambda *_: counts, rule=Rescale()).weights
    layers = convolutions(net)
    for key, expected in one_pass(net, images, reference, counts, layers).items():
        # Captum's difference of two large sums has fewer digits than ours.
        torch.testing.assert_close(found[key], expected, rtol=0, atol=10 * allowed * float(expected.abs().max()))
    for key in [*layers][:: len(layers) // 6]:
        expected = of_channels(net, images, reference, counts, layers[key])
        torch.testing.assert_close(
            found[key].sum((1, 2, 3)), expected, rtol=0, atol=allowed * float(found[key].abs().sum((1, 2, 3)).max())
        )


class PlainGradient(Rescale):
    """No DeepLIFT: the derivative where its multiplier should be."""

    def activate(self, function: Any, images: Tensor, reference: Tensor) -> Tensor:
        return function(images)


def without_shifts(net: Any) -> Any:
    """A network that answers zeros to zeros."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.running_mean.zero_()
            if isinstance(module, nn.BatchNorm2d | nn.Conv2d) and module.bias is not None:
                module.bias.zero_()
    return net


def test_with_plain_gradients_and_a_reference_of_zeros_it_is_snip():
    net, made = without_shifts(answering(dtype=torch.float64)), batch()
    images = made["images"].double()
    found = contributions(
        net,
        images,
        torch.zeros_like(images[:1]),
        coefficients=functools.partial(assigned, net, made["targets"]),
        rule=PlainGradient(),
    )
    net.evidence(net(images), made["targets"]).sum().backward()
    for key, layer in convolutions(net).items():
        assert layer.weight.grad is not None
        torch.testing.assert_close(found.weights[key], layer.weight.detach() * layer.weight.grad)


def test_what_does_not_differ_from_the_reference_contributes_nothing():
    net, made = answering(dtype=torch.float64), batch()
    images = made["images"].double()
    images[:, 1] = 0.5
    images[:, :, :20] = 0.5
    reference = torch.full_like(images[:1], 0.5)
    coefficients = functools.partial(assigned, net, made["targets"])
    found = contributions(net, images, reference, coefficients=coefficients, rule=Rescale())
    stem = found.weights["backbone.stem.conv"]
    assert not stem[:, 1].any()
    assert stem[:, 0].all()
    same = contributions(net, reference, reference, coefficients=whole, rule=Rescale())
    assert same.gap == 0
    assert not any(values.any() for values in same.weights.values())


def test_masked_weights_contribute_nothing_and_the_rest_is_complete():
    net = make_masked(answering(dtype=torch.float64))
    torch.manual_seed(0)
    for _, layer in masked_layers(net):
        layer.mask.copy_(torch.rand(layer.mask.shape) > 0.2)
    found = explain(net)
    assert found.gap < 1e-9
    for key, layer in masked_layers(net):
        assert not found.weights[key][~layer.mask].any()


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_the_sum_of_its_images(rule):
    net, made = answering(dtype=torch.float64), batch()
    images = made["images"].double()
    reference = torch.full_like(images[:1], 0.5)
    parts = [[0, 1], [1, 0], [0], [1]]
    both, turned, first, second = (
        contributions(
            net,
            images[part],
            reference,
            coefficients=functools.partial(assigned, net, [made["targets"][index] for index in part]),
            rule=RULES[rule](),
        )
        for part in parts
    )
    for key, values in both.weights.items():
        torch.testing.assert_close(turned.weights[key], values)
        torch.testing.assert_close(first.weights[key] + second.weights[key], values)
    torch.testing.assert_close(turned.differences.flip(0), both.differences)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_every_activation_has_a_rule(kind, rule):
    torch.manual_seed(0)
    net = Single(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), kind(), nn.Conv2d(8, 4, 1), kind()).double().eval()
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64) * 3
    for reference in (torch.zeros_like(images[:1]), images * 0.1):
        assert contributions(net, images, reference, coefficients=whole, rule=RULES[rule]()).gap < 1e-9
    assert len(likely_causes(net)) == 1, "no module is suspected"


@pytest.mark.parametrize("settings", [
    {"kernel_size": 2, "stride": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}, {"kernel_size": 5, "stride": 2},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True}, {"kernel_size": 2, "stride": 1, "dilation": 2},
])  # fmt: skip
def test_max_pooling_is_exact(settings):
    torch.manual_seed(0)
    net = Single(nn.Conv2d(2, 4, 1), nn.MaxPool2d(**settings), nn.Conv2d(4, 1, 1)).double()
    images = torch.randn(3, 2, 10, 10, dtype=torch.float64)
    for reference in (torch.zeros_like(images[:1]), torch.randn_like(images)):
        assert contributions(net, images, reference, coefficients=whole, rule=Rescale()).gap < 1e-9


def test_a_maximum_is_put_down_to_the_input_that_made_it():
    reference = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]]]])
    rise = torch.tensor([[[[1.0, 5.0], [2.0, 0.0]]]])  # 3 -> 5, by the second input, which rose by 4
    fall = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]]]])  # 3 -> 2, by the first input, which fell by 2
    for images, expected in ((rise, [0, 2 / 4, 0, 0]), (fall, [-1 / -2, 0, 0, 0])):
        pixels = images.requires_grad_()
        max_pool(nn.MaxPool2d(2), pixels, reference).sum().backward()
        assert pixels.grad is not None
        assert pixels.grad.flatten().tolist() == expected


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 6, 2), (3, 3, 3), (2, 6, 2)])
@pytest.mark.parametrize("activation", [nn.Mish, nn.SiLU, nn.Sigmoid, nn.ReLU])
def test_groups_are_the_loop_over_the_formula(activation, inputs, outputs, groups):
    """C = w * sum of m * (x - xref), kernel by kernel, where a filter reads the inputs of its own group alone."""
    torch.manual_seed(0)
    conv, head = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=groups), nn.Conv2d(outputs, 2, 1)
    net = Single(conv, activation(), head).double()
    images, reference = torch.randn(2, inputs, 6, 6).double(), torch.randn(1, inputs, 6, 6).double()
    with torch.no_grad():
        here, there = conv(images), conv(reference)
        f = net.parts[1]
        slopes = (f(here) - f(there)) / (here - there) * head.weight.sum(0)[:, 0, 0].view(-1, 1, 1)
    moved = F.pad(images - reference, (1, 1, 1, 1)).numpy()
    expected = np.zeros(conv.weight.shape)
    for o, j, down, across in np.ndindex(*expected.shape):
        i = o // (outputs // groups) * (inputs // groups) + j
        for n, row, column in np.ndindex(2, 3, 3):
            expected[o, j, down, across] += slopes[n, o, row, column] * moved[n, i, 2 * row + down, 2 * column + across]
    expected *= conv.weight.detach().numpy()
    found = contributions(net, images, reference, coefficients=whole, rule=Rescale())
    np.testing.assert_allclose(found.weights["parts.0"], expected, rtol=1e-9, atol=1e-12)
    assert found.gap < 1e-9


@pytest.mark.parametrize("rule", RULES)
def test_modules_that_are_used_twice(rule):
    torch.manual_seed(0)
    shared = nn.Conv2d(3, 3, 3, padding=1)
    apart = [copy.deepcopy(shared) for _ in range(3)]
    once = Single(
        shared, nn.ReLU(inplace=True), forward=lambda images, conv, act: act(conv(act(conv(images)))) + conv(images)
    ).double()
    thrice = Single(
        *apart, nn.ReLU(), nn.ReLU(), forward=lambda images, a, b, c, f, g: f(b(g(a(images)))) + c(images)
    ).double()
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    found, expected = (
        contributions(net, images, torch.zeros_like(images[:1]), coefficients=whole, rule=RULES[rule]())
        for net in (once, thrice)
    )
    assert found.gap < 1e-9
    assert found.weights.keys() == {"parts.0"}
    torch.testing.assert_close(found.weights["parts.0"], torch.stack([*expected.weights.values()]).sum(0))


@pytest.mark.parametrize("broken", ["function", "product", "train", "stranger"])
def test_what_has_no_rule_leaves_a_gap(broken):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    norm.running_mean = torch.randn(4)
    forwards: dict[str, Callable[..., Tensor]] = {
        "function": lambda images, conv, norm: F.relu(norm(conv(images))),
        "product": lambda images, conv, norm: norm(conv(images)) * conv(images),
        "train": lambda images, conv, norm: norm(conv(images)),
        "stranger": lambda images, conv, norm: nn.Softmax(dim=1)(norm(conv(images))),
    }
    parts = [conv, norm, *([nn.Softmax(dim=1)] if broken == "stranger" else [])]
    net = Single(*parts, forward=lambda images, *parts: forwards[broken](images, *parts[:2])).double().eval()
    norm.train(broken == "train")
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    weights = torch.randn(4, 4, 4, dtype=torch.float64)
    found = contributions(
        net, images, 0.3 * images, coefficients=lambda raw, _: [weights.expand_as(raw[0])], rule=Rescale()
    )
    assert found.gap > 0.01
    cause = {
        "function": "a function such as F.relu",
        "product": "a product",
        "train": "parts.1 (BatchNorm2d) is in train mode",
        "stranger": "parts.2 (Softmax) has no rule",
    }
    assert cause[broken] in likely_causes(net)[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails, rule):
    net = make_masked(network("yolov3_tiny"))
    unsettle(net)
    before = snapshot(net)
    images = batch()["images"]

    def coefficients(raw: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
        if fails:
            raise RuntimeError("broken")
        return whole(raw, before)

    with undisturbed(net), pytest.raises(RuntimeError, match="broken") if fails else nullcontext():
        contributions(net, images, 0 * images, coefficients=coefficients, rule=RULES[rule]())
    assert_untouched(net, before)
    for module in net.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._backward_hooks


def test_a_forward_of_a_module_s_own_is_there_again():
    net = Single(nn.ReLU())
    own = net.parts[0].forward = lambda images: images.clamp(min=0)
    contributions(net, torch.randn(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), coefficients=whole, rule=Rescale())
    assert net.parts[0].forward is own


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 3, 8, 8), (1, 3, 8, 9), (1, 1, 8, 8)])
def test_a_reference_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"reference: expected the shape of the images \[2, 3, 8, 8\]"):
        contributions(Single(), torch.zeros(2, 3, 8, 8), torch.zeros(shape), coefficients=whole, rule=Rescale())


@pytest.mark.parametrize("settings", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_other_padding_is_refused(settings):
    net = Single(nn.Conv2d(3, 3, 3, **settings), nn.ReLU(), nn.Conv2d(3, 3, 1)).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = contributions(net, images, 0 * images, coefficients=whole, rule=Rescale())
    assert found.gap < 1e-9, "it is linear all the same"
    make_masked(net, exclude=["parts.0"])
    assert contributions(net, images, 0 * images, coefficients=whole, rule=Rescale()).weights.keys() == {"parts.2"}
    make_masked(net)
    with pytest.raises(InputError, match=r"parts\.0: expected a convolution padded with a number of zeros"):
        contributions(net, images, 0 * images, coefficients=whole, rule=Rescale())
    assert "forward" not in vars(net.parts[0])


class Standardised(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, images: Tensor) -> Tensor:
        return self._conv_forward(images, self.weight - self.weight.mean(), self.bias)


@pytest.mark.parametrize("rule", RULES)
def test_other_modules_and_functions_that_are_linear(rule):
    torch.manual_seed(0)

    def forward(images: Tensor, conv: Any, relu: Any, own: Any, constant: Any) -> Tensor:
        hidden = conv(images)
        hidden += images.mean(1, keepdim=True)  # written over what a convolution made
        active = relu(hidden)
        active += images[:, :1]
        return own(active) + constant(torch.ones_like(active[:1]))

    net = Single(nn.Conv2d(3, 4, 1), nn.ReLU(), Standardised(4, 2, 3), nn.Conv2d(4, 2, 3), forward=forward).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = contributions(net, images, 0 * images, coefficients=whole, rule=RULES[rule]())
    assert found.gap < 1e-9
    assert found.weights.keys() == {"parts.0"}


def test_what_is_written_over_a_convolution_belongs_to_its_unit_as_a_whole():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def in_place(images: Tensor, conv: Any, relu: Any) -> Tensor:
        hidden = conv(images)
        hidden += images[:, :1]
        return relu(hidden)

    def anew(images: Tensor, conv: Any, relu: Any) -> Tensor:
        return relu(conv(images) + images[:, :1])

    parts = [nn.Conv2d(3, 4, 1), nn.ReLU()]
    first, second = (
        contributions(
            Single(*parts, forward=forward).double(),
            images,
            0 * images,
            coefficients=whole,
            rule=RULES["reveal_cancel"](),
        )
        for forward in (in_place, anew)
    )
    torch.testing.assert_close(first.weights, second.weights)


@pytest.mark.parametrize("rule", RULES)
def test_batch_norm_over_processes_is_batch_norm(rule):
    net = answering(dtype=torch.float64)
    expected = explain(net, rule=rule)
    found = explain(nn.SyncBatchNorm.convert_sync_batchnorm(net), rule=rule)
    torch.testing.assert_close(found.weights, expected.weights)


def test_rounding_of_a_gpu_is_switched_off_and_on_again():
    seen = []
    assert torch.backends.cudnn.allow_tf32, "torch's default"

    def forward(images: Tensor) -> Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return 2 * images

    net = Single(forward=forward)
    contributions(net, torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), coefficients=whole, rule=Rescale())
    assert seen == [False, False]
    assert torch.backends.cudnn.allow_tf32


def test_what_is_missed_of_one_image_does_not_make_up_for_another():
    pixels = torch.tensor([3.0, 1.0]).view(2, 1, 1, 1)
    found = Contributions({}, pixels=pixels, differences=torch.tensor([2.0, 2.0]))
    assert found.gap == 0.5


@pytest.mark.gpu
def test_a_gpu_is_as_exact():
    net, made = answering().cuda(), batch()
    images = made["images"].cuda()
    for truth in made["targets"]:
        truth["boxes"], truth["labels"] = truth["boxes"].cuda(), truth["labels"].cuda()
    for rule in RULES.values():
        found = contributions(
            net,
            images,
            torch.full_like(images[:1], 0.5),
            coefficients=functools.partial(assigned, net, made["targets"]),
            rule=rule(),
        )
        assert found.gap < 1e-4


@pytest.mark.parametrize("target", ["assigned", "loss"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_images_and_reference_may_change_places(name, rule, target):
    """Why there is one direction alone between clean and attacked images: the other has the same sizes."""
    net, made = answering(name, dtype=torch.float64), batch()
    images = made["images"].double()
    coefficients = functools.partial(TARGETS[target], net, made["targets"])
    attacked = disturbed(images)
    there, back = (
        contributions(net, *pair, coefficients=coefficients, rule=RULES[rule]())
        for pair in ((attacked, images), (images, attacked))
    )
    for key, values in there.weights.items():
        torch.testing.assert_close(back.weights[key], -values, rtol=0, atol=1e-6 * float(values.abs().max()))


class Still(Nested):
    """Some of whose raw maps are the same for every image."""

    def forward(self, images: Tensor) -> Any:
        """As its parent, and places."""
        return {**super().forward(images), "places": torch.ones(len(images), 2)}


@pytest.mark.parametrize("kind", [Nested, Still])
def test_raw_maps_may_be_a_tree(kind):
    listed, nested = (make_masked(made(num_classes=6)).eval() for made in (Small, kind))
    nested.load_state_dict(listed.state_dict())
    made = batch()
    images = made["images"].float()
    found, wanted = (
        contributions(
            net,
            images,
            torch.zeros_like(images),
            coefficients=functools.partial(TARGETS["loss"], net, made["targets"]),
            rule=Rescale(),
        )
        for net in (nested, listed)
    )
    assert found.gap < ALLOWED[torch.float32]
    assert found.weights.keys() == wanted.weights.keys()
    for name, values in wanted.weights.items():
        assert torch.equal(found.weights[name], values)
