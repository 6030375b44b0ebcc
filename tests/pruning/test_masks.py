"""Masks: the exact number of units stays, and it is the right ones, against sorting and counting by hand."""

import doctest
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from hydra_det.pruning import masks
from hydra_det.pruning.granularity import GRANULARITIES
from hydra_det.pruning.masks import kept_units, top_k
from hydra_det.types import InputError
from tests.pruning.example import mask_of

RATIOS = ["0", "0.25", "0.5", "0.65", "0.75", "0.85", "0.9", "0.95", "0.99"]
# Counts of weights and of kernels in layers of YOLOv3 and of its tiny version.
LAYER_SIZES = [96, 864, 2048, 18_432, 65_280, 130_560, 294_912, 524_288, 1_179_648, 4_718_592]
SHAPES = [(10, 1, 1, 1), (4, 3, 3, 3), (16, 8, 1, 1), (5, 7, 3, 3)]


def random_scores(shape, *, seed=0, ties=False):
    generator = torch.Generator().manual_seed(seed)
    if ties:
        return torch.randint(-3, 4, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


def exactly_kept(units, ratio):
    """The formula of the method in exact arithmetic: 0.65 is 13/20 here, not the nearest binary fraction."""
    return units - round(Fraction(ratio) * units)


def best_by_sorting(values, keep):
    """The first `keep` of a full stable sort, by falling value, then by rising index."""
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    return [index in set(order[:keep]) for index in range(len(values))]


@pytest.mark.parametrize(
    ("ratio", "of_10", "of_100", "of_1000"),
    [
        (0.0, 10, 100, 1000),
        (0.25, 8, 75, 750),
        (0.5, 5, 50, 500),
        (0.65, 4, 35, 350),
        (0.75, 2, 25, 250),
        (0.85, 2, 15, 150),
        (0.9, 1, 10, 100),
        (0.95, 0, 5, 50),
        (0.99, 0, 1, 10),
    ],
)
def test_kept_units_by_hand(ratio, of_10, of_100, of_1000):
    assert [kept_units(units, ratio) for units in (10, 100, 1000)] == [of_10, of_100, of_1000]


@pytest.mark.parametrize("ratio", RATIOS)
def test_kept_units_is_the_formula(ratio):
    sizes = [*range(3000), *LAYER_SIZES]
    assert [kept_units(n, float(ratio)) for n in sizes] == [exactly_kept(n, ratio) for n in sizes]


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(InputError, match=r"prune\.ratio: expected .* in \[0, 1\)"):
        kept_units(10, ratio)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("granularity", ["weight", "kernel"])
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_count(shape, granularity, ties):
    weights = shape[2] * shape[3] if granularity == "kernel" else 1
    units = int(np.prod(shape)) // weights
    for ratio in RATIOS:
        mask = mask_of(random_scores(shape, ties=ties), ratio=float(ratio), granularity=granularity)
        assert mask.shape == shape
        assert mask.dtype == torch.bool
        assert int(mask.sum()) == max(1, exactly_kept(units, ratio)) * weights, ratio


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_masks_are_nested(granularity, ties):
    scores = random_scores((6, 8, 3, 3), ties=ties)
    answer = [mask_of(scores, ratio=float(ratio), granularity=granularity) for ratio in RATIOS]
    for fuller, sparser in pairwise(answer):
        assert not (sparser & ~fuller).any()
        assert sparser.sum() < fuller.sum()


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3])
def test_equal_scores_keep_the_first(value):
    mask = mask_of(torch.full((2, 5, 1, 1), value), ratio=0.75)
    assert mask.flatten().tolist() == [True] * 2 + [False] * 8


@pytest.mark.parametrize("ties", [False, True])
def test_top_k_is_a_full_sort(ties):
    values = random_scores((7, 9), ties=ties)
    for keep in range(values.numel() + 1):
        assert top_k(values, keep).flatten().tolist() == best_by_sorting(values.flatten().tolist(), keep)


def test_importance_is_the_absolute_value():
    scores = torch.tensor([-5.0, 1.0, 4.0, -2.0]).view(4, 1, 1, 1)
    assert mask_of(scores, ratio=0.5).flatten().tolist() == [True, False, True, False]


def test_kernel_scores_are_the_mean_of_the_kernel():
    scores = random_scores((3, 4, 3, 2))
    loop = [
        [sum(abs(v) for row in kernel for v in row) / 6 for kernel in filters] for filters in scores.double().tolist()
    ]
    np.testing.assert_allclose(GRANULARITIES["kernel"]().unit_scores(scores).view(3, 4), np.array(loop), rtol=1e-6)


def test_kernels_stay_or_go_whole():
    scores = random_scores((4, 5, 3, 3))
    means = scores.abs().double().numpy().mean(axis=(2, 3)).flatten()
    expected = best_by_sorting(means.tolist(), 10)
    mask = mask_of(scores, ratio=0.5, granularity="kernel").view(20, 9)
    assert mask.any(1).tolist() == mask.all(1).tolist() == expected


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter", "filter_group"])
def test_memory_format_does_not_count(granularity, ties):
    scores = random_scores((6, 5, 3, 3), ties=ties)
    strided = scores.to(memory_format=torch.channels_last)
    assert not strided.is_contiguous()
    for ratio in ("0", "0.5", "0.75"):
        plain = mask_of(scores, ratio=float(ratio), granularity=granularity)
        assert torch.equal(mask_of(strided, ratio=float(ratio), granularity=granularity), plain)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("granularity", [*GRANULARITIES, "filter_group"])
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_scores_that_are_not_finite_are_refused(bad, granularity, ratio):
    scores = random_scores((4, 4, 3, 3))
    scores[1, 2, 0, 1] = bad
    with pytest.raises(InputError, match="finite"):
        mask_of(scores, ratio=ratio, granularity=granularity)


@pytest.mark.parametrize("keep", [-1, 5])
def test_more_than_there_is_cannot_be_kept(keep):
    with pytest.raises(ValueError, match=r"\[0, 4\]"):
        top_k(torch.ones(4), keep)


def test_scores_are_not_touched():
    scores = random_scores((4, 4, 3, 3)).requires_grad_()
    before = scores.detach().clone()
    mask = mask_of(scores, ratio=0.5)
    assert torch.equal(scores, before)
    assert not mask.requires_grad


def test_examples_run():
    result = doctest.testmod(masks)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.gpu
@pytest.mark.parametrize("ratio", [0.25, 0.9])
def test_every_device_keeps_the_same_weights(ratio):
    scores = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with ties
    mask = mask_of(scores.cuda(), ratio=ratio)
    assert mask.is_cuda
    assert torch.equal(mask.cpu(), mask_of(scores, ratio=ratio))


@pytest.mark.gpu
def test_a_gpu_that_has_to_be_deterministic_keeps_the_same_weights():
    scores = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    torch.use_deterministic_algorithms(True)
    try:
        mask = mask_of(scores.cuda(), ratio=0.5)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(mask.cpu(), mask_of(scores, ratio=0.5))
