"""Units within a layer against slow loops."""

import itertools

import numpy as np
import pytest
import torch

from hydra_det.pruning.granularity import GRANULARITIES, Blocks
from hydra_det.pruning.settings import PruneSettings
from hydra_det.types import InputError
from tests.pruning.example import lone_layer, mask_of

SHAPE = (6, 8, 3, 3)


def scores(*, seed=0, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", GRANULARITIES)
@pytest.mark.parametrize("shape", [SHAPE, (3, 4, 1, 1), (2, 12, 3, 1)])
def test_expand_is_the_inverse_of_gather(name, shape):
    granularity = GRANULARITIES[name]()
    values = scores(shape=shape)
    units = granularity.gather(values)
    assert units.numel() == values.numel()
    # The mean of every unit in the place of each of its weights.
    spread = granularity.expand(units.mean(1), shape)
    assert spread.shape == shape
    torch.testing.assert_close(granularity.gather(spread), units.mean(1, keepdim=True).expand_as(units))


def test_a_unit_of_filters_is_a_filter():
    values = scores()
    loop = [sum(abs(v) for v in filters.flatten().tolist()) / filters.numel() for filters in values]
    np.testing.assert_allclose(GRANULARITIES["filter"]().unit_scores(values), loop, rtol=1e-5)
    expected = sorted(range(6), key=lambda o: -loop[o])[:3]
    mask = mask_of(values, ratio=0.5, granularity="filter")
    assert [o for o in range(6) if mask[o].all()] == sorted(expected)
    assert int(mask.sum()) == 3 * values[0].numel()


@pytest.mark.parametrize(("ratio", "n"), [(0.25, 3), (0.5, 2), (0.75, 1)])
@pytest.mark.parametrize("ties", [False, True])
def test_of_every_four_neighbours_the_best_stay(ratio, n, ties):
    values = scores().round() if ties else scores()
    mask = mask_of(values, ratio=ratio, granularity="nm")
    for o, y, x, block in itertools.product(range(6), range(3), range(3), range(2)):
        four = values[o, 4 * block : 4 * block + 4, y, x].abs().tolist()
        best = sorted(range(4), key=lambda i: (-four[i], i))[:n]
        kept = mask[o, 4 * block : 4 * block + 4, y, x].nonzero().flatten().tolist()
        assert kept == sorted(best)


def test_blocks_of_another_size():
    granularity = Blocks(size=2)
    ranks = granularity.unit_scores(torch.tensor([3.0, -5.0, 1.0, 0.5]).view(1, 4, 1, 1))
    assert ranks.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"granularity": "nm", "ratio": 0.6},
            r"one of 0, 0\.25, 0\.5, 0\.75 for whole numbers of every 4 weights .*0\.6",
        ),
        ({"granularity": "nm", "ratio": 0.5, "allocation": "erk"}, "expected uniform for granularity=nm, got erk"),
        ({"granularity": "stripes"}, r"prune\.granularity: expected one of weight, kernel, .*, got 'stripes'"),
        ({"allocation": "fair"}, r"prune\.allocation: expected one of uniform, global, erk, lamp, learned, got 'fair'"),
        ({"budget": "money"}, r"prune\.budget: expected one of parameters, flops, latency, got 'money'"),
        (
            {"budget": "latency", "granularity": "filter"},
            r"expected parameters or flops for granularity=filter, got latency",
        ),
        ({"budget": "flops", "granularity": "hybrid"}, r"prune\.budget: expected parameters for granularity=hybrid"),
        ({"min_keep": 0}, r"prune\.min_keep: expected a whole number of at least 1, got 0"),
        ({"granularity": "filter", "multiple": 8}, r"prune\.multiple: expected 1 for granularity=filter, got 8"),
        (
            {"granularity": "hybrid", "allocation": "learned"},
            r"prune\.allocation: expected uniform, global, erk",
        ),
        ({"block": 4.0, "granularity": "nm"}, r"prune\.block: expected one of 2, 4, 8, 16, got 4\.0"),
        ({"exclude": None}, r"prune\.exclude: expected a list"),
        ({"exclude": [1]}, r"prune\.exclude: expected a list"),
        ({"rate": float("inf")}, r"prune\.rate: expected a learning rate"),
        ({"start": "lamp"}, r"prune\.start: expected one of uniform, erk, got 'lamp'"),
        ({"min_keep": 1.5}, r"prune\.min_keep"),
        (
            {"multiple": 0, "granularity": "filter_group"},
            r"prune\.multiple: expected a whole number of at least 1, got 0",
        ),
        (
            {"multiple": 8},
            r"prune\.multiple: expected 1 for granularity=weight, got 8; only filter_group and hybrid",
        ),
        ({"block": 3}, r"prune\.block: expected one of 2, 4, 8, 16, got 3"),
        ({"filter_share": "x"}, r"prune\.filter_share: expected a part of the ratio in \[0, 1\], got x"),
        ({"rate": None}, r"prune\.rate: expected a learning rate above 0, got None"),
        ({"exclude": "heads"}, r"prune\.exclude: expected a list, as in prune\.exclude=\[heads\], got heads"),
        ({"filter_share": 1.5}, r"prune\.filter_share: expected a part of the ratio in \[0, 1\], got 1\.5"),
        ({"rate": 0.0}, r"prune\.rate: expected a learning rate above 0, got 0\.0"),
        ({"ratio": 1.0}, r"prune\.ratio: expected a fraction removed in \[0, 1\), got 1\.0"),
        ({"ratio": "half"}, r"prune\.ratio: expected a fraction removed in \[0, 1\), got half"),
    ],
)
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(InputError, match=complaint):
        PruneSettings(**{"ratio": 0.5, **settings})


def test_a_layer_without_units_of_the_granularity_is_left_whole():
    with pytest.raises(InputError, match="expected layers that can be cut into units of nm, found none"):
        mask_of(scores(shape=(4, 3, 3, 3)), ratio=0.5, granularity="nm")
    assert lone_layer((4, 3, 3, 3)).groups().keys() == {"layer"}
