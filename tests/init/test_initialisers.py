"""Every initialiser gives finite scores of the right shapes and touches nothing; each against its formula."""

import dataclasses
import functools
import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from hydra_det.init import INITIALISERS
from hydra_det.init.base import Sample, scale_to_bound, score_bound
from hydra_det.init.contributions import contributions
from hydra_det.init.deeplift import DeepLift
from hydra_det.init.gradient import Snip, Taylor
from hydra_det.init.order import BLENDS, NORMALISATIONS, ranks
from hydra_det.init.references import REFERENCES
from hydra_det.init.rules import RULES, Rescale
from hydra_det.init.scaled import Scaled
from hydra_det.init.simple import Magnitude, Random
from hydra_det.init.synflow import SynFlow
from hydra_det.init.targets import TARGETS, assigned
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError
from tests.init.example import answering, attackable, disturbed, given, objects_of_every_size
from tests.modules.example import NETWORKS, assert_untouched, batch, network, snapshot, target, unsettle
from tests.pruning.example import mask_of
from tests.pruning.test_masks import RATIOS, best_by_sorting, exactly_kept

BOTH = (objects_of_every_size(seed=0), objects_of_every_size(seed=1))
BATCHES = given(*BOTH)
# Nothing for the two coarser heads to find.
SMALL_OBJECTS = given(
    Batch(images=batch()["images"], targets=[target([[10, 10, 20, 22]], [0]), target([[30, 30, 41, 40]], [1])])
)
FROM_IMAGES = ("deeplift", "deeplift_paper", "snip", "taylor")


def initialiser(name, *, seed=0):
    built = INITIALISERS[name]
    return built(seed=seed) if "seed" in inspect.signature(built).parameters else built()


def masked(name="yolov3", **options):
    return make_masked(answering(name, **options))


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", INITIALISERS)
def test_scores_of_every_layer(name, network_name):
    net = make_masked(answering(network_name), exclude=["head"])
    unsettle(net)
    before, state = snapshot(net), torch.get_rng_state()
    with undisturbed(net):
        scores = initialiser(name)(net, attackable(*BOTH)).layers
    assert_untouched(net, before)
    assert torch.equal(torch.get_rng_state(), state), "what is drawn later must not depend on the initialiser"
    assert list(scores) == [key for key, _ in masked_layers(net)]
    for key, layer in masked_layers(net):
        found = scores[key]
        assert (found.shape, found.dtype) == (layer.weight.shape, layer.weight.dtype)
        assert found.isfinite().all()
        assert not found.requires_grad
        # In pictures this small some weights only ever meet padding, or what no maximum lets through.
        assert found.count_nonzero() > (0.4 if name in FROM_IMAGES else 0.99) * found.numel()
        assert found.data_ptr() != layer.weight.data_ptr()
        if name != "magnitude":
            assert found.abs().max().item() == pytest.approx(score_bound(layer), rel=0.1 if name == "random" else 1e-5)


def test_scaled_is_its_formula():
    net = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, (3, 1)))
    scores = Scaled()(make_masked(net), BATCHES).layers
    for (key, layer), fan_in in zip(masked_layers(net), (6 / 2 * 9, 4, 5 * 3), strict=True):
        weight = layer.weight.detach().double().numpy()
        np.testing.assert_allclose(scores[key], np.sqrt(6 / fan_in) * weight / np.abs(weight).max(), rtol=1e-5)


def test_scaled_survives_a_layer_of_zeros():
    net = make_masked(nn.Sequential(nn.Conv2d(2, 2, 3)))
    nn.init.zeros_(masked_layers(net)[0][1].weight)
    assert Scaled()(net, BATCHES).layers["0"].tolist() == torch.zeros(2, 2, 3, 3).tolist()


@pytest.mark.parametrize("name", ["scaled", "magnitude"])
def test_first_mask_keeps_the_largest_weights(name):
    net = make_masked(nn.Sequential(nn.Conv2d(5, 8, 3), nn.Conv2d(8, 7, 1)))
    scores = initialiser(name)(net, BATCHES).layers
    for key, layer in masked_layers(net):
        weight = layer.weight.detach().abs().double().numpy()
        for ratio in RATIOS:
            expected = best_by_sorting(weight.flatten().tolist(), max(1, exactly_kept(weight.size, ratio)))
            assert mask_of(scores[key], ratio=float(ratio)).flatten().tolist() == expected
            if weight.ndim == 4 and weight.shape[2] == 3:
                means = weight.mean((2, 3)).flatten()
                expected = best_by_sorting(means.tolist(), max(1, exactly_kept(means.size, ratio)))
                mask = mask_of(scores[key], ratio=float(ratio), granularity="kernel")
                assert mask[:, :, 0, 0].flatten().tolist() == expected


def test_magnitude_is_unscaled():
    net = make_masked(network("yolov3_tiny"))
    scores = Magnitude()(net, BATCHES).layers
    for key, layer in masked_layers(net):
        np.testing.assert_array_equal(scores[key], np.abs(layer.weight.detach().numpy()))


def test_random_is_its_seed_and_nothing_else():
    net, other = (make_masked(network("yolov3_tiny", seed=seed)) for seed in (1, 2))
    first, again, different = (
        Random(seed=seed)(made, BATCHES).layers for made, seed in ((net, 3), (other, 3), (net, 4))
    )
    for key, scores in first.items():
        assert torch.equal(scores, again[key])
        assert (scores != different[key]).float().mean() > 0.99
        weight: Any = net.get_submodule(key).weight
        largest = np.sqrt(6 / weight[0].numel())
        assert 0.9 * largest < scores.abs().max() <= largest
    layers = list(first.values())
    assert not torch.equal(layers[0].flatten()[:100], layers[1].flatten()[:100]), "every layer has its own draw"
    wide = layers[-2].flatten().double().numpy()
    assert abs(wide.mean()) < 4 * wide.std() / np.sqrt(wide.size)
    assert wide.std() == pytest.approx(np.abs(wide).max() / np.sqrt(3), rel=0.05)


def test_random_has_nothing_to_do_with_weights_of_the_same_seed():
    net = make_masked(network("yolov3_tiny", seed=3))
    for key, scores in Random(seed=3)(net, BATCHES).layers.items():
        weights = net.get_parameter(f"{key}.weight").detach()
        correlation = torch.corrcoef(torch.stack([weights.flatten(), scores.flatten()]))[0, 1]
        assert abs(correlation) < 5 / weights.numel() ** 0.5, key


def of_each_batch(net, made):
    """Contributions of the weights, batch by batch."""
    found = []
    for part in made:
        images = part["images"].to(next(net.parameters()).dtype)
        reference = torch.full_like(images[:1], 0.5)
        coefficients = functools.partial(assigned, net, part["targets"])
        found.append(contributions(net, images, reference, coefficients=coefficients, rule=Rescale()).weights)
    return found


@pytest.mark.parametrize(("aggregation", "of_batch"), [
    ("absolute", lambda values: values.abs()), ("squared", lambda values: values**2), ("signed", lambda values: values),
])  # fmt: skip
def test_deeplift_is_the_mean_of_contributions_scaled_to_the_bound(aggregation, of_batch):
    net, made = masked(dtype=torch.float64), [objects_of_every_size(seed=seed) for seed in range(3)]
    scores = DeepLift(aggregation=aggregation)(net, given(*made)).layers
    turned = DeepLift(aggregation=aggregation)(net, given(*made[::-1])).layers
    parts = of_each_batch(net, made)
    for key, layer in masked_layers(net):
        expected = sum(of_batch(part[key]) for part in parts).abs()
        expected *= score_bound(layer) / expected.max()
        torch.testing.assert_close(scores[key], expected)
        torch.testing.assert_close(turned[key], expected, msg="the order of the batches does not matter")


@pytest.mark.parametrize("option", [
    *({"target": name} for name in TARGETS if name != "assigned"), {"target": "topk", "k": 3},
    *({"reference": name} for name in REFERENCES if name not in {"padding", "clean"}),
    *({"rule": name} for name in RULES if name != "rescale"),
    {"normalise": "channels"}, {"blend": "rank"}, {"blend": "product"},
])  # fmt: skip
def test_every_option_changes_the_scores(option):
    net = masked()
    before = DeepLift(target="topk") if "k" in option else DeepLift()
    default, other = (made(net, BATCHES) for made in (before, DeepLift(**option)))
    assert any(not torch.allclose(default.layers[key], other.layers[key], rtol=0.01) for key in default.layers)
    assert other.facts | option == other.facts
    assert 0 < other.facts["completeness_gap"] < 1e-3


def test_scores_as_large_as_the_weights_keep_the_order_of_the_contributions():
    net = masked()
    plain, dealt = (DeepLift(sizes=sizes)(net, SMALL_OBJECTS).layers for sizes in ("contributions", "weights"))
    scaled = Scaled()(net, BATCHES).layers
    for key in plain:
        sizes = scaled[key].abs()
        torch.testing.assert_close(dealt[key].flatten().sort().values, sizes.flatten().sort().values)
        for ratio in (0.25, 0.75):
            if plain[key].all():
                masks = (mask_of(scores[key], ratio=ratio) for scores in (plain, dealt))
                assert torch.equal(*masks)
    for found in (plain, dealt):
        torch.testing.assert_close(found["heads.0"], scaled["heads.0"].abs(), msg="no contribution: the weight decides")


def test_attacked_images_are_explained_against_themselves_before_the_attack():
    net, made = masked(dtype=torch.float64), [batch(seed=0), batch(seed=1)]
    scores = DeepLift(reference="clean", target="loss", attacked=True)(net, attackable(*made)).layers
    attacked = [Batch(images=disturbed(one["images"]), targets=one["targets"]) for one in made]
    sums: dict[str, Any] = {}
    for before, after in zip(made, attacked, strict=True):
        coefficients = functools.partial(TARGETS["loss"], net, before["targets"])
        pair = (after["images"].double(), before["images"].double())
        for key, values in contributions(net, *pair, coefficients=coefficients, rule=Rescale()).weights.items():
            sums[key] = sums.get(key, 0) + values.abs()
    for key, layer in masked_layers(net):
        torch.testing.assert_close(scores[key], sums[key] * score_bound(layer) / sums[key].max())


def test_an_image_that_the_attack_leaves_alone_explains_nothing():
    with pytest.raises(InputError, match="init: expected scores, got zeros alone"):
        DeepLift(reference="clean", attacked=True)(masked(), lambda _: [batch()])


def test_a_blend_orders_by_what_was_found_and_by_the_weight():
    values, layer = torch.tensor([4.0, 0.0, 1.0, 9.0]), nn.Conv2d(4, 1, 1)
    weights = torch.tensor([0.1, 0.4, 0.2, 0.3])
    by_hand = torch.tensor([3 + 1, 1 + 4, 2 + 2, 4 + 3]) / 4 / 2  # both ranks, from 1 for the least
    torch.testing.assert_close(BLENDS["rank"](values, weights, 0.5), by_hand)
    torch.testing.assert_close(BLENDS["rank"](values, weights, 0.25), torch.tensor([3 + 3, 1 + 12, 2 + 6, 4 + 9]) / 16)
    torch.testing.assert_close(BLENDS["product"](values, weights, 0.5), (values * weights).sqrt())
    assert BLENDS["none"](values, weights, 0.5) is values
    assert NORMALISATIONS["none"](values, layer) is values


def test_squares_count_once_beside_the_weight():
    net = masked(dtype=torch.float64)
    blended, squared = (Taylor(blend=blend)(net, BATCHES).layers for blend in ("product", "none"))
    for key, layer in masked_layers(net):
        expected = (squared[key].sqrt() * layer.weight.detach().abs()).sqrt()
        torch.testing.assert_close(blended[key], scale_to_bound(expected, layer))


def test_ties_are_ordered_by_the_weight():
    weights = torch.tensor([[0.3, 0.1], [0.4, 0.2]])
    torch.testing.assert_close(ranks(torch.zeros(2, 2), weights), torch.tensor([[3.0, 1.0], [4.0, 2.0]]) / 4)


@pytest.mark.parametrize("groups", [1, 2])
def test_shares_of_channels_by_hand(groups):
    layer = nn.Conv2d(4, 6, 3, groups=groups)
    values = layer.weight.detach().abs()
    found = NORMALISATIONS["channels"](values, layer)
    width = 6 // groups
    for o, i in ((0, 0), (5, 1), (2, 1)):
        group = slice(o // width * width, (o // width + 1) * width)  # the filters that read the same channels
        expected = values[o, i] / values[o].sum() + values[o, i] / values[group, i].sum()
        torch.testing.assert_close(found[o, i], expected)
    starved = values.clone()
    starved[3] *= 1e-6  # contributes next to nothing, and keeps its share all the same
    assert NORMALISATIONS["channels"](starved, layer)[3].sum() >= 0.99
    assert not NORMALISATIONS["channels"](torch.zeros_like(values), layer).any()


def test_facts_say_what_was_looked_at():
    assert DeepLift(images=9, micro_batch=2)(masked(), BATCHES).facts == {
        "target": "assigned", "reference": "padding", "rule": "rescale", "aggregation": "absolute",
        "normalise": "none", "blend": "none", "sizes": "contributions", "images": 4, "micro_batch": 2,
        "attacked": False,
        "completeness_gap": pytest.approx(0, abs=1e-3), "dtype": "float32",
    }  # fmt: skip
    assert Snip()(masked(), BATCHES).facts == {
        "aggregation": "absolute", "normalise": "none", "blend": "none", "sizes": "contributions", "images": 4,
        "micro_batch": 4, "attacked": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_the_sample_is_asked_for(name):
    asked = []

    def batches(sample):
        asked.append(sample)
        return attackable(batch())(sample)

    INITIALISERS[name](images=7, micro_batch=3, attacked=True)(masked(), batches)
    assert asked[-1] == Sample(images=7, micro_batch=3, attacked=True)
    assert all(sample == dataclasses.replace(asked[-1], attacked=False) for sample in asked[:-1])


def test_snip_and_taylor_are_weight_times_gradient_of_the_loss():
    net, made = masked(dtype=torch.float64), [batch(seed=0), batch(seed=1)]
    expected: dict[str, list[Any]] = {}
    for part in made:
        net.zero_grad()
        net.losses(net(part["images"].double()), part["targets"]).total.sum().backward()
        for key, layer in masked_layers(net):
            assert layer.weight.grad is not None
            expected.setdefault(key, []).append(layer.weight.detach() * layer.weight.grad)
    with undisturbed(net):
        snip, taylor = Snip()(net, given(*made)).layers, Taylor()(net, given(*made)).layers
    for key, layer in masked_layers(net):
        for found, powers in ((snip, 1), (taylor, 2)):
            sums = torch.stack(expected[key]).abs().pow(powers).sum(0)
            # The loss is computed in float32.
            torch.testing.assert_close(found[key], sums * score_bound(layer) / sums.max(), rtol=1e-3, atol=1e-6)


def test_synflow_conserves_what_flows():
    """What enters and leaves a layer is the same (Tanaka et al. 2020, theorem 1): between two layers in a row."""
    torch.manual_seed(0)
    first, norm, last = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1)
    variance = norm.running_var
    assert variance is not None
    variance.uniform_(0.5, 2)
    for shift in (norm.weight, norm.bias, norm.running_mean):
        assert shift is not None
        nn.init.normal_(shift)
    net = make_masked(nn.Sequential(first, norm, nn.LeakyReLU(0.1), last)).eval()
    scores = SynFlow()(net, BATCHES).layers
    entering, leaving = scores["0"].sum((1, 2, 3)), scores["3"].sum((0, 2, 3))
    torch.testing.assert_close(entering / entering.sum(), leaving / leaving.sum())
    # By hand, inside the image, where the padding does not count: |last| @ |scale * first| @ ones.
    scale = norm.weight.detach().abs() / (variance + norm.eps).sqrt()
    by_hand = last.weight.detach().abs().sum((0, 2, 3)) * scale * first.weight.detach().abs().sum((1, 2, 3))
    torch.testing.assert_close(entering / entering.sum(), by_hand / by_hand.sum(), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_half_precision_weights_are_scored_in_float32(name):
    halves = masked().bfloat16()
    before = snapshot(halves)
    found = initialiser(name)(halves, attackable(*BOTH)).layers
    assert_untouched(halves, before)
    expected = initialiser(name)(masked().bfloat16().float(), attackable(*BOTH)).layers
    for key, values in found.items():
        assert torch.equal(values, expected[key].bfloat16())


def scores_of_rank(rank, address, folder, count):
    """One of two processes; of an odd number of batches the first one has one more."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    made = [batch(seed=seed) for seed in range(count)][rank::2]
    for name in FROM_IMAGES:
        option = {"reference": "mean"} if name == "deeplift" else {}
        found = INITIALISERS[name](**option)(masked(dtype=torch.float64), attackable(*made))
        torch.save((found.layers, found.facts), folder / f"{name}{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_processes_share_the_images_and_agree(tmp_path, count):
    mp.spawn(scores_of_rank, (tmp_path / "address", tmp_path, count), nprocs=2)
    for name in FROM_IMAGES:
        option = {"reference": "mean"} if name == "deeplift" else {}
        alone = INITIALISERS[name](**option)(
            masked(dtype=torch.float64), attackable(*(batch(seed=seed) for seed in range(count)))
        )
        (first, facts), (second, others) = (torch.load(tmp_path / f"{name}{rank}.pt") for rank in range(2))
        assert facts == others
        assert facts["images"] == alone.facts["images"] == 2 * count
        for key, values in alone.layers.items():
            assert torch.equal(first[key], second[key])
            # Another number of threads adds up in another order, and the loss of SNIP is computed in float32.
            torch.testing.assert_close(first[key], values, rtol=0, atol=1e-4 * float(values.max()))


@pytest.mark.parametrize(("options", "message"), [
    ({"target": "boxes"}, r"init\.target: expected one of assigned, topk, loss, got 'boxes'"),
    ({"reference": "grey"}, r"init\.reference: expected one of zeros, padding, mean, blur, clean, got 'grey'"),
    ({"reference": "clean"}, r"init\.attacked: expected true for init\.reference=clean, got false"),
    ({"blend": "mean"}, r"init\.blend: expected one of none, rank, product, got 'mean'"),
    ({"blend_share": 1}, r"init\.blend_share: expected a share between 0 and 1, got 1"),
    ({"normalise": "layers"}, r"init\.normalise: expected one of none, channels, got 'layers'"),
    ({"rule": "linear"}, r"init\.rule: expected one of rescale, reveal_cancel, got 'linear'"),
    ({"aggregation": "mean"}, r"init\.aggregation: expected one of absolute, squared, signed, got 'mean'"),
    ({"images": 0}, r"init\.images: expected a whole number of at least 1, got 0"),
    ({"micro_batch": 0}, r"init\.micro_batch: expected a whole number of at least 1, got 0"),
    ({"k": 0}, r"init\.k: expected a whole number of at least 1, got 0"),
    ({"images": 2.5}, r"init\.images: expected a whole number of at least 1, got 2\.5"),
    ({"attacked": "no"}, r"init\.attacked: expected true or false, got 'no'"),
    ({"sizes": "equal"}, r"init\.sizes: expected one of contributions, weights, got 'equal'"),
    ({"max_gap": 0}, r"init\.max_gap: expected a share above 0, got 0"),
])  # fmt: skip
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(InputError, match=message):
        DeepLift(**options)


def test_images_without_objects_are_refused_where_objects_are_explained():
    empty = Batch(images=batch()["images"], targets=[target([], []), target([], [])])
    with pytest.raises(InputError, match="init: expected training images with objects, got none"):
        DeepLift()(masked(), given(empty))
    assert DeepLift()(masked(), given(empty, batch())).facts["images"] == 2
    assert DeepLift(target="loss")(masked(), given(empty)).facts["images"] == 2


def test_a_large_gap_is_refused_with_its_cause():
    net = masked()
    net.get_submodule("necks.0.0").activation = nn.Softmax(dim=1)
    message = r"miss at most 0\.001 .*activation \(Softmax\) has no rule"
    with pytest.raises(InputError, match=message):
        DeepLift()(net, BATCHES)
    # Of two batches the second one explains nothing that there is to explain.
    grey = Batch(images=torch.full((2, 3, 64, 64), 0.5), targets=batch()["targets"])
    with pytest.raises(InputError, match=message):
        DeepLift()(net, given(objects_of_every_size(), grey))
    assert DeepLift(max_gap=1e9)(net, BATCHES).facts["completeness_gap"] > 0.001


def test_a_network_that_hardly_answers_is_explained_with_more_digits(caplog):
    net = make_masked(network()).eval()  # its signal dies on the way: the differences are of the size of rounding
    before = snapshot(net)
    caplog.set_level("INFO")
    with undisturbed(net):
        found = DeepLift()(net, given(batch()))
    assert "once more in float64" in caplog.text
    assert found.facts["completeness_gap"] < 1e-6
    assert found.facts["dtype"] == "float64"
    assert {values.dtype for values in found.layers.values()} == {torch.float32}
    assert_untouched(net, before)


def test_a_network_that_answers_nothing_is_refused(caplog):
    net = masked()
    with torch.no_grad():
        for head in net.heads:
            head.weight.zero_()
    with pytest.raises(InputError, match="init: expected scores, got zeros alone"):
        DeepLift()(net, BATCHES)


def test_layers_that_contribute_nothing_are_named(caplog):
    net = masked()
    found = DeepLift()(net, SMALL_OBJECTS).layers
    silent, other = (dict(masked_layers(net))[name] for name in ("heads.0", "heads.2"))
    torch.testing.assert_close(found["heads.0"], scale_to_bound(silent.weight.detach().abs(), silent))
    assert not torch.allclose(found["heads.2"], scale_to_bound(other.weight.detach().abs(), other))
    assert "no weight of outs.0.conv, outs.1.conv, heads.0, heads.1 contributes to the target" in caplog.text
