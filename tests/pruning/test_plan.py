"""Masks of whole networks, over all granularities, allocations and ratios: counts, nesting, budgets, consistency."""

import itertools
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from hydra_det.compaction.channels import layout
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.pruning.allocation import ALLOCATIONS, LearnedShares
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import GROUPED, KINDS, PruneSettings
from hydra_det.pruning.units import FilterGroups
from hydra_det.types import InputError
from tests.modules.example import ARCHITECTURES, network

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)
CASES = [
    (granularity, allocation)
    for granularity in KINDS
    for allocation in ALLOCATIONS
    if (granularity != "nm" or allocation == "uniform") and (granularity, allocation) != ("hybrid", "learned")
]


def masked(name="yolov3_tiny", *, exclude=()):
    """A masked network whose layers have scores of very different sizes."""
    net = make_masked(network(name), exclude=exclude)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, layer in masked_layers(net):
            layer.scores.copy_(torch.randn(layer.scores.shape, generator=generator) * layer.scores.shape[1] ** -0.5)
    return net


def scores_of(net):
    return {name: layer.scores.detach() for name, layer in masked_layers(net)}


def kept_share(masks):
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def ratios_for(granularity):
    return [ratio for ratio in RATIOS if granularity != "nm" or ratio * 4 == int(ratio * 4)]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("granularity", "allocation"), CASES)
def test_what_is_kept_is_within_the_budget_and_nearly_all_of_it(name, granularity, allocation):
    net = masked(name)
    found, scores = layout(net), scores_of(net)
    for ratio in ratios_for(granularity):
        plan = mask_plan(PruneSettings(ratio=ratio, granularity=granularity, allocation=allocation), found)
        masks = plan.masks(scores, final=True)
        plan.check(masks)
        kept = kept_share(masks)
        layers = len(masks)
        if granularity == "nm":  # filters of three inputs, or of one, have no block of four
            cut = {name: mask for name, mask in masks.items() if mask.shape[1] % 4 == 0}
            assert kept_share(cut) == pytest.approx(1 - ratio, abs=1e-9)
            assert all(mask.all() for name, mask in masks.items() if name not in cut)
        elif granularity in ("weight", "hybrid") or (granularity == "kernel" and allocation == "uniform"):
            # Every layer is rounded by itself.
            slack = layers * (9 if granularity == "kernel" else 1)
            assert abs(kept - (1 - ratio)) * sum(m.numel() for m in masks.values()) <= slack
        else:
            # A unit of the last is up to seven channels at once, in three layers and all that read them.
            assert 1 - ratio - (0.02 if name == "darknet_varied" else 0.006) <= kept <= 1 - ratio + 1e-9


@pytest.mark.parametrize(("granularity", "allocation"), [case for case in CASES if case[0] != "hybrid"])
def test_masks_are_nested(granularity, allocation):
    net = masked()
    found, scores = layout(net), scores_of(net)
    answers = [
        mask_plan(PruneSettings(ratio=ratio, granularity=granularity, allocation=allocation), found).masks(
            scores, final=final
        )
        for final in (False, True)
        for ratio in ratios_for(granularity)
    ]
    half = len(answers) // 2
    for series in (answers[:half], answers[half:]):
        for fuller, sparser in pairwise(series):
            assert not any((sparser[name] & ~fuller[name]).any() for name in fuller)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_filter_groups_are_consistent(name, allocation):
    """A removed channel has no writing weight and no reading one, in any layer; a kept one has all of both."""
    net = masked(name)
    found = layout(net)
    plan = mask_plan(PruneSettings(ratio=0.7, granularity="filter_group", allocation=allocation), found)
    masks = plan.masks(scores_of(net), final=True)
    state: dict[int, bool] = {}
    for layer_name, layer in found.layers.items():
        kernels = masks[layer_name].flatten(2).any(2)
        rows = kernels.any(1)
        if layer.groups > 1:  # kernel by kernel: a filter reads the inputs of its own group
            filters, inputs = len(layer.writes) // layer.groups, len(layer.reads) // layer.groups
            for row, column in itertools.product(range(len(layer.writes)), range(inputs)):
                channel = int(layer.reads[row // filters * inputs + column])
                assert state.setdefault(channel, bool(kernels[row, column])) == kernels[row, column]
                assert channel == int(layer.writes[row])
            assert torch.equal(masks[layer_name], rows[:, None, None, None].expand_as(masks[layer_name]))
            continue
        columns = kernels.any(0)
        for channel, flag in [*zip(layer.writes.tolist(), rows.tolist(), strict=True)]:
            assert state.setdefault(channel, flag) == flag
        for channel, flag in [*zip(layer.reads.tolist(), columns.tolist(), strict=True)]:
            assert state.setdefault(channel, flag) == flag
        full = rows[:, None] & columns[None]
        assert torch.equal(masks[layer_name], full[:, :, None, None].expand_as(masks[layer_name]))
    assert all(state[channel] for channel in found.fixed.nonzero().flatten().tolist())
    assert sum(not kept for kept in state.values()) > 0


def test_a_channel_is_scored_by_what_writes_and_reads_it():
    net = masked()
    found, scores = layout(net), scores_of(net)
    importance = FilterGroups(found).importance(scores)
    group = "backbone.convs.4.conv"  # read by the next convolution and, behind a concatenation, by the fine head
    for index, value in enumerate(importance[group].tolist()):
        upper = scores["up.0.conv"].shape[0]
        parts = [
            scores[group][index].abs().mean(),
            scores["backbone.convs.5.conv"][:, index].abs().mean(),
            scores["out_fine.conv"][:, upper + index].abs().mean(),
        ]
        assert value == pytest.approx(float(sum(parts) / 3), rel=1e-5)


def test_residual_sums_tie_the_filters_of_a_stage():
    found = layout(masked("yolov3"))
    first = found.layers["backbone.stages.1.0.conv"].writes
    assert torch.equal(found.layers["backbone.stages.1.1.expand.conv"].writes, first)
    assert torch.equal(found.layers["backbone.stages.2.0.conv"].reads, first)
    assert not set(first.tolist()) & set(found.layers["backbone.stages.1.1.reduce.conv"].writes.tolist())


@pytest.mark.parametrize("name", ["yolov3_tiny", "darknet_depthwise"])
def test_while_scores_learn_only_readers_are_masked(name):
    net = masked(name)
    plan = mask_plan(PruneSettings(ratio=0.6, granularity="filter_group"), layout(net))
    scores = scores_of(net)
    training, final = plan.masks(scores), plan.masks(scores, final=True)
    layers: dict[str, Any] = dict(masked_layers(net))
    for layer, mask in training.items():
        if layers[layer].groups > 1:  # hands on what those behind it may learn to read again
            assert mask.all()
            assert not final[layer].all()
            continue
        columns = mask.flatten(2).any(2).any(0)
        assert torch.equal(mask, columns[None, :, None, None].expand_as(mask))
        assert torch.equal(final[layer].flatten(2).any(2).any(0), columns)
    assert plan.counts_in(training) == plan.counts_in(final)


def test_excluded_layers_keep_what_they_touch():
    net = masked("yolov3", exclude=["heads", "backbone.stages.3"])
    found = layout(net)
    assert not any(name.startswith(("heads", "backbone.stages.3")) for name in found.layers)
    masks = mask_plan(PruneSettings(ratio=0.5, granularity="filter_group"), found).masks(scores_of(net), final=True)
    assert masks["outs.0.conv"].flatten(1).any(1).all(), "a head that stays dense reads all of it"
    assert masks["backbone.stages.2.0.conv"].flatten(1).any(1).all(), "so does the stage that stays dense"
    assert not masks["backbone.stages.1.0.conv"].flatten(1).any(1).all()


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter", "filter_group"])
@pytest.mark.parametrize("allocation", ["global", "lamp", "erk", "learned", "uniform"])
@pytest.mark.parametrize("min_keep", [1, 3])
def test_no_pool_falls_below_its_minimum(granularity, allocation, min_keep):
    net = masked()
    scores = scores_of(net)
    scores["neck.conv"] = scores["neck.conv"] * 1e-6  # what a threshold for all would remove whole
    settings = PruneSettings(ratio=0.8, granularity=granularity, allocation=allocation, min_keep=min_keep)
    plan = mask_plan(settings, layout(net))
    counts = plan.counts_in(plan.masks(scores, final=True))
    assert min(counts.values()) >= min_keep
    if allocation in ("global",):
        assert counts["neck.conv"] == min_keep


def test_global_is_one_threshold():
    net = masked()
    scores = scores_of(net)
    masks = mask_plan(PruneSettings(ratio=0.75, allocation="global"), layout(net)).masks(scores)
    kept = np.concatenate([scores[name][mask].abs() for name, mask in masks.items()])
    gone = np.concatenate([scores[name][~mask].abs() for name, mask in masks.items()])
    assert kept.min() >= gone.max()


def test_lamp_is_its_formula():
    net = masked()
    scores = scores_of(net)
    masks = mask_plan(PruneSettings(ratio=0.75, allocation="lamp"), layout(net)).masks(scores)
    values = {}
    for name, score in scores.items():
        flat = score.abs().flatten().double().numpy() ** 2
        order = np.argsort(flat, kind="stable")
        tail = np.cumsum(flat[order][::-1])[::-1]  # of this one and all larger ones
        lamp = np.empty_like(flat)
        lamp[order] = flat[order] / tail
        values[name] = lamp
    kept = np.concatenate([values[name][mask.flatten().numpy()] for name, mask in masks.items()])
    gone = np.concatenate([values[name][~mask.flatten().numpy()] for name, mask in masks.items()])
    assert kept.min() >= gone.max() * (1 - 1e-5)


def test_erk_is_its_formula():
    net = masked()
    masks = mask_plan(PruneSettings(ratio=0.9, allocation="erk"), layout(net)).masks(scores_of(net))
    shares = {name: float(mask.float().mean()) for name, mask in masks.items()}
    raw = {name: sum(mask.shape) / mask.numel() for name, mask in masks.items()}
    scale = [shares[name] / raw[name] for name in masks if shares[name] < 0.99 and masks[name].numel() > 2000]
    assert len(scale) > 5
    assert max(scale) == pytest.approx(min(scale), rel=0.01)
    assert max(shares[name] for name in masks) == 1.0, "the smallest layers stay whole"


@pytest.mark.parametrize("name", ["yolov3_tiny", "yolov3_nano"])
def test_a_budget_of_flops_counts_positions(name):
    net = masked(name)
    found = layout(net)
    masks = mask_plan(PruneSettings(ratio=0.5, granularity="filter_group", budget="flops"), found).masks(
        scores_of(net), final=True
    )
    cost = {layer: int(mask.sum()) * found.layers[layer].positions for layer, mask in masks.items()}
    whole = {layer: mask.numel() * found.layers[layer].positions for layer, mask in masks.items()}
    assert 0.49 <= sum(cost.values()) / sum(whole.values()) <= 0.5


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"granularity": "filter", "ratio": 0.99}, r"expected at most 0\.\d+ of the parameters for granularity=filter"),
        (
            {"granularity": "filter_group", "ratio": 0.9, "min_keep": 20},
            r"expected at most 0\.\d+ .*min_keep=20 and prune.multiple=1, got 0\.9",
        ),
        (
            {"granularity": "filter_group", "ratio": 0.9, "multiple": 20},
            r"expected at most 0\.\d+ .*prune.multiple=20, got 0\.9",
        ),
    ],
)
def test_a_ratio_that_cannot_be_met_is_refused_with_one_that_can(settings, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        mask_plan(PruneSettings(**settings), layout(masked()))
    most = str(caught.value).partition("at most ")[2].split(" ")[0]
    mask_plan(PruneSettings(**{**settings, "ratio": float(most)}), layout(masked()))


def test_shares_learn_where_weights_are_worth_most():
    """With a loss that falls by the kept weights of one layer, that layer gains and the others pay."""
    net = masked()
    found, scores = layout(net), scores_of(net)
    plan = mask_plan(PruneSettings(ratio=0.8, allocation="learned", start="uniform", rate=0.1), found)
    before = plan.masks(scores)
    for _ in range(20):
        masks = plan.masks(scores)
        slopes = {
            name: torch.full_like(mask, -1.0 if name == "neck.conv" else 0.0, dtype=torch.float32)
            for name, mask in masks.items()
        }
        plan.learn(scores, slopes, masks)
    after = plan.masks(scores)
    plan.check(after)
    shares = [float(masks["neck.conv"].float().mean()) for masks in (before, after)]
    assert shares[1] > shares[0] + 0.1
    for name in ("backbone.convs.6.conv", "out_fine.conv"):
        assert after[name].sum() < before[name].sum()


def test_equal_worth_changes_nothing():
    """Where a weight is worth as much in every layer, shares stay, whatever it is worth."""
    net = masked()
    found, scores = layout(net), scores_of(net)
    plan = mask_plan(PruneSettings(ratio=0.8, allocation="learned"), found)
    before = plan.masks(scores)
    for _ in range(5):
        masks = plan.masks(scores)
        plan.learn(scores, {name: torch.full(mask.shape, -1.0) for name, mask in masks.items()}, masks)
    assert plan.counts_in(plan.masks(scores)) == plan.counts_in(before)


def test_a_group_that_is_full_can_still_shrink():
    net = masked("yolov3")
    found, scores = layout(net), scores_of(net)
    settings = PruneSettings(ratio=0.1, granularity="filter_group", allocation="learned", start="uniform", rate=0.3)
    plan = mask_plan(settings, found)
    start = plan.counts_in(plan.masks(scores))
    full = [pool for pool, count in start.items() if count == plan.sizes[pool]]
    assert full
    harmful = torch.zeros(len(found.fixed))
    for pool in full:
        harmful[found.groups()[pool]] = 1.0
    for _ in range(20):
        slopes = {
            name: harmful[layer.reads][None, :, None, None].expand(layer.shape) for name, layer in found.layers.items()
        }
        plan.learn(scores, slopes, plan.masks(scores))
    after = plan.counts_in(plan.masks(scores))
    assert all(after[pool] < start[pool] for pool in full)


def test_what_was_learned_goes_on_from_its_state():
    first, second = (LearnedShares({"a": 0.5, "b": 0.5}, rate=0.1) for _ in range(2))
    steps = [([0.5, 0.5], [-1.0, 0.3], [1.0, 2.0]), ([0.6, 0.4], [-0.2, 0.1], [1.0, 2.0])]
    first.learn(*steps[0])
    second.load_state_dict(first.state_dict())
    for shares in (first, second):
        shares.learn(*steps[1])
    assert torch.equal(first.logits, second.logits)
    assert first.logits[0] > 0 > first.logits[1]


def test_hybrid_takes_filters_first_and_weights_of_the_rest():
    net = masked()
    found, scores = layout(net), scores_of(net)
    settings = PruneSettings(ratio=0.8, granularity="hybrid", filter_share=0.5)
    masks = mask_plan(settings, found).masks(scores, final=True)
    filters = mask_plan(PruneSettings(ratio=0.4, granularity="filter_group"), found).masks(scores, final=True)
    left, kept = kept_share(filters), kept_share(masks)
    assert kept == pytest.approx(0.2, abs=1e-3)
    for name, mask in masks.items():
        assert not (mask & ~filters[name]).any()
        inside = scores[name].abs()[filters[name]]
        count = int(mask.sum())
        assert count == pytest.approx(inside.numel() * kept / left, abs=1)
        assert scores[name].abs()[mask].min() == inside.sort(descending=True).values[count - 1]


@pytest.mark.parametrize(("share", "same"), [(0.0, "weight"), (1.0, "filter_group")])
def test_hybrid_ends_in_its_parts(share, same):
    net = masked()
    found, scores = layout(net), scores_of(net)
    hybrid = mask_plan(PruneSettings(ratio=0.7, granularity="hybrid", filter_share=share), found)
    pure = mask_plan(PruneSettings(ratio=0.7, granularity=same), found)
    for final in (False, True):
        found_masks, expected = hybrid.masks(scores, final=final), pure.masks(scores, final=final)
        if final:
            hybrid.check(found_masks)
        wrong = sum(int((found_masks[name] != mask).sum()) for name, mask in expected.items())
        assert wrong <= len(expected) * (share == 0.0)


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter", "filter_group", "hybrid"])
def test_a_single_wrong_weight_is_found(granularity):
    net = masked()
    plan = mask_plan(PruneSettings(ratio=0.75, granularity=granularity), layout(net))
    masks = plan.masks(scores_of(net), final=True)
    plan.check(masks)
    if granularity == "hybrid":
        masks["neck.conv"][:] = True
    else:
        masks["neck.conv"].view(-1)[(~masks["neck.conv"].view(-1)).nonzero()[0]] = True
    with pytest.raises(ValueError, match="expected"):
        plan.check(masks)


@pytest.mark.parametrize(("granularity", "allocation"), [case for case in CASES if case[0] in GROUPED])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_channels_are_kept_in_multiples_within_the_budget(name, granularity, allocation):
    net = masked(name)
    found, scores = layout(net), scores_of(net)
    for ratio in (0.3, 0.6):
        settings = PruneSettings(ratio=ratio, granularity=granularity, allocation=allocation, multiple=4)
        plan = mask_plan(settings, found)
        masks = plan.masks(scores, final=True)
        plan.check(masks)
        counts = plan.counts(plan.units.importance(scores))  # of hybrid, before single weights go
        odd = {pool: count for pool, count in counts.items() if count % 4}
        assert all(count == plan.sizes[pool] for pool, count in odd.items())
        assert plan.cost(counts) <= plan.limit * (1 + 1e-9)
        for pool, count in counts.items():  # what is left of the budget holds no further step of any
            if count < plan.sizes[pool]:
                assert plan.cost({**counts, pool: min(count + 4, plan.sizes[pool])}) > plan.limit
        if granularity == "filter_group":
            assert kept_share(masks) <= 1 - ratio + 1e-9


def test_counts_that_are_no_multiples_are_refused():
    net = masked()
    found, settings = layout(net), PruneSettings(ratio=0.5, granularity="filter_group")
    masks = mask_plan(settings, found).masks(scores_of(net), final=True)
    plan = mask_plan(PruneSettings(ratio=0.5, granularity="filter_group", multiple=8), found)
    with pytest.raises(ValueError, match="expected a multiple of 8 units kept"):
        plan.check(masks)


@pytest.mark.parametrize("granularity", ["weight", "filter_group"])
@pytest.mark.parametrize("start", ["uniform", "erk"])
def test_learned_shares_begin_where_they_are_told(granularity, start):
    net = masked("yolov3")
    found, scores = layout(net), scores_of(net)
    settings = {"ratio": 0.9, "granularity": granularity}
    learned = mask_plan(PruneSettings(**settings, allocation="learned", start=start), found)
    fixed = mask_plan(PruneSettings(**settings, allocation=start), found)
    importance = fixed.units.importance(scores)
    ours, theirs = learned.counts(importance), fixed.counts(importance)
    for pool, size in fixed.sizes.items():
        assert abs(ours[pool] - theirs[pool]) <= max(1, 0.01 * size)
    other = mask_plan(PruneSettings(**settings, allocation={"uniform": "erk", "erk": "uniform"}[start]), found)
    assert other.counts(importance) != theirs


@pytest.mark.parametrize("granularity", ["weight", "filter", "filter_group"])
def test_shares_that_drift_for_ever_leave_every_pool_its_minimum(granularity):
    """A slope that never changes its sign, for more steps than the ladder reaches."""
    net = masked()
    found, scores = layout(net), scores_of(net)
    plan = mask_plan(PruneSettings(ratio=0.8, granularity=granularity, allocation="learned", rate=2.0), found)
    names = list(plan.sizes)
    for _ in range(60):
        plan.learned.learn([0.5] * len(names), [(-1.0) ** k for k in range(len(names))], [1.0] * len(names))
    masks = plan.masks(scores, final=True)
    plan.check(masks)
    counts = plan.counts_in(masks)
    assert min(counts.values()) >= 1
    assert plan.cost(counts) > 0.9 * plan.limit


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hybrid_of_whole_channels_alone_passes_its_own_check(name, ratio, multiple):
    net = masked(name)
    settings = PruneSettings(ratio=ratio, granularity="hybrid", filter_share=1.0, multiple=multiple)
    try:
        plan = mask_plan(settings, layout(net))
    except InputError:
        assert (ratio, multiple) == (0.9, 8), "only there is too little left for eight channels of everything"
        return
    masks = plan.masks(scores_of(net), final=True)
    plan.check(masks)
    name, mask = next((name, mask) for name, mask in masks.items() if mask.any() and not mask.all())
    for weight in mask.view(-1).nonzero().flatten()[: mask.numel() // 2]:
        mask.view(-1)[weight] = False
    assert sum(int(m.sum()) for m in masks.values()) < plan.limit


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"ratio": 0.9, "min_keep": 5000},
            r"min_keep: expected a number that leaves prune\.ratio=0\.9 possible",
        ),
        ({"ratio": 0.9, "min_keep": 5000, "granularity": "kernel"}, r"which keeps [\d,]+ units more than"),
        ({"ratio": 0.5, "min_keep": 5000, "granularity": "nm"}, r"min_keep: expected a number that leaves"),
        (
            {"ratio": 0.95, "min_keep": 5000, "granularity": "hybrid", "filter_share": 0.0},
            r"min_keep: expected a number",
        ),
        (
            {"ratio": 0.9, "granularity": "hybrid", "filter_share": 0.8, "multiple": 32},
            r"expected at most 0\.\d+ for granularity=hybrid with prune\.filter_share=0\.8, .*=32, got 0\.9",
        ),
    ],
)
def test_a_minimum_that_overrides_the_ratio_is_refused(settings, complaint):
    with pytest.raises(InputError, match=complaint):
        mask_plan(PruneSettings(**settings), layout(masked()))
