"""Every attack against every network: it stays in its ball, raises the loss and leaves no trace."""

import inspect
import math
import re
from itertools import pairwise
from typing import Any, cast

import captum.robust
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hydra_det.attacks.apgd import APGD, checkpoints_of
from hydra_det.attacks.carlini_wagner import CarliniWagner
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.mixture import Mixture
from hydra_det.attacks.noise import Noise
from hydra_det.attacks.objectives.registry import OBJECTIVES, Reading, objective_of
from hydra_det.attacks.square import Square
from hydra_det.attacks.task_wise import TaskWise
from hydra_det.callbacks.hardening.attacked_images import NetworkView, losses_of
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Candidates, InputError, LossTerms
from tests.attacks.example import BUILD, GUIDED, MODEST, REAL
from tests.init.example import answering
from tests.modules.example import NETWORKS, batch, network, target

EPSILON = 0.05
ROUNDING = 1e-7


def loss_of(net, made):
    return lambda images: net.losses(net(images), made["targets"]).total


def only(loss):
    """The same loss, whatever an attack asks for."""
    return dict.fromkeys(OBJECTIVES, loss)


def margin_loss(weights_seed=0):
    """A loss whose largest value is 0, and which no image reaches at once."""
    weights = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(weights_seed))
    return lambda images: -(5 + (images * weights).mean((1, 2, 3)) * 100).clamp(min=0)


def region_of(images):
    """All but a frame of 8 pixels above and below."""
    region = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    region[:, :, 8:-8] = True
    return region


def random_images(seed=0):
    """Every fourth pixel channel is black or white, where only one direction is left."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    images.view(-1)[::4] = images.view(-1)[::4].round()
    return images


def quadratic(seed=0):
    """A loss with a known gradient, different for the two images."""
    weights = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return lambda images: (images * weights + images.square() * weights.roll(1)).sum((1, 2, 3))


def test_none_attacks_nothing():
    assert BUILD["none"]() is None


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", REAL)
def test_stays_in_its_ball(name, network_name):
    net, made = network(network_name), batch()
    images, region = random_images(), region_of(made["images"])
    before = images.clone()
    with undisturbed(net):
        attacked = BUILD[name](epsilon=EPSILON)(
            images, losses_of(net, made["targets"]), region=region, generator=torch.Generator().manual_seed(7)
        )
    assert torch.equal(images, before), "the clean images are somebody else's"
    assert (attacked.shape, attacked.dtype, attacked.requires_grad) == (images.shape, images.dtype, False)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    distance = (attacked - images).abs()
    assert distance.max() <= EPSILON + ROUNDING
    outside = (~region).expand_as(images)
    assert torch.equal(attacked[outside], images[outside])
    if name not in MODEST:
        assert distance.max() > EPSILON * 0.9
        moved = distance[region.expand_as(images)] > 0
        assert moved.float().mean() > 0.8, "at 0 and 1 only one of two directions is left"


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "task_wise"])
@pytest.mark.parametrize("epsilon", [1 / 255, EPSILON])
def test_raises_the_loss_of_every_image(name, network_name, epsilon):
    net, made = network(network_name), batch()
    arguments = {"step_size": epsilon / 4} if name in ("pgd", "task_wise") else {}
    with undisturbed(net):
        loss = loss_of(net, made)
        clean = loss(made["images"])
        attacked = loss(BUILD[name](epsilon=epsilon, **arguments)(made["images"], only(loss)))
        noisy = loss(Noise(epsilon=epsilon)(made["images"], only(loss), generator=torch.Generator().manual_seed(0)))
    assert (attacked > clean).all()
    assert (attacked - clean > (noisy - clean).abs()).all(), "noise is the weakest"


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("mode", [True, False])
def test_epsilon_0_is_the_identity(name, mode):
    net, made = network("yolov3_tiny"), batch()
    with torch.set_grad_enabled(mode), undisturbed(net):
        attacked = BUILD[name](epsilon=0)(made["images"], only(loss_of(net, made)))
    assert torch.equal(attacked, made["images"])


def test_fgsm_is_the_sign_of_the_gradient():
    images, loss = random_images().requires_grad_(), quadratic()
    (gradient,) = torch.autograd.grad(loss(images).sum(), images)
    expected = np.clip(images.detach().numpy() + np.float32(0.03) * np.sign(gradient.numpy()), 0, 1)
    attacked = FGSM(epsilon=0.03)(images.detach(), only(loss))
    np.testing.assert_allclose(attacked, expected, atol=ROUNDING)
    one_step = PGD(epsilon=0.03, step_size=0.03, steps=1)(images.detach(), only(loss))
    assert torch.equal(one_step, attacked)


def plain_pgd(images, loss, *, epsilon, step_size, steps, region):
    """Algorithm 1 pixel by pixel, in numpy."""
    clean = images.numpy()
    low, high = np.maximum(clean - np.float32(epsilon), 0), np.minimum(clean + np.float32(epsilon), 1)
    current = clean.copy()
    for _ in range(steps):
        variable = torch.tensor(current, requires_grad=True)
        loss(variable).sum().backward()
        assert variable.grad is not None
        current = current + np.float32(step_size) * np.sign(variable.grad.numpy())
        current = np.where(current > high, high, current)
        current = np.where(current < low, low, current)
        if region is not None:
            current = np.where(region.numpy(), current, clean)
    return current


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("with_region", [False, True])
def test_pgd_is_the_plain_loop(steps, with_region):
    images, loss = random_images(1), quadratic(2)
    settings: dict[str, Any] = {"epsilon": EPSILON, "step_size": 0.02, "steps": steps}
    region = region_of(images) if with_region else None
    expected = plain_pgd(images, loss, **settings, region=region)
    attacked = PGD(**settings)(images, only(loss), region=region)
    np.testing.assert_allclose(attacked, expected, atol=ROUNDING * steps)


def test_pgd_is_the_plain_loop_on_a_network():
    net, made = network("yolov3"), batch()
    settings: dict[str, Any] = {"epsilon": EPSILON, "step_size": 0.02, "steps": 3}
    with undisturbed(net):
        loss = loss_of(net, made)
        expected = plain_pgd(made["images"], loss, **settings, region=None)
        attacked = PGD(**settings)(made["images"], only(loss))
    # A gradient that is nearly 0 may change its sign with the rounding of the point where it is taken.
    assert np.mean(np.abs(attacked.numpy() - expected) > 1e-6) < 1e-3


def test_pgd_steps_once_per_pass():
    calls = []
    loss = quadratic()

    def counting(images):
        calls.append(images.detach().clone())
        return loss(images)

    images = random_images()
    PGD(epsilon=EPSILON, step_size=0.02, steps=4)(images, only(counting))
    assert len(calls) == 4
    assert torch.equal(calls[0], images), "the start is the image itself"
    values = [loss(call) for call in calls]
    assert all((late > early).all() for early, late in pairwise(values))


def test_defaults_are_those_of_the_paper():
    pgd = {name: p.default for name, p in inspect.signature(PGD).parameters.items()}
    pgd.pop("options")
    assert pgd == {"epsilon": 0.05, "step_size": 0.02, "steps": 5, "random_start": False}


@pytest.mark.parametrize("name", ["noise", "pgd"])
def test_what_is_drawn_is_uniform(name):
    images = torch.full((2, 3, 64, 64), 0.5)
    attack = Noise(epsilon=0.1) if name == "noise" else PGD(epsilon=0.1, random_start=True)
    attacked = attack(
        images, only(lambda moved: (moved * 0).sum((1, 2, 3))), generator=torch.Generator().manual_seed(0)
    )
    drawn = ((attacked - images) / 0.1).double().numpy().flatten()
    assert kstest(drawn, "uniform", args=(-1, 2)).pvalue > 0.01
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    first, second = drawn.reshape(2, -1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03, "every image has its own noise"


@pytest.mark.parametrize("name", ["noise", "pgd"])
def test_what_is_drawn_depends_on_the_generator_alone(name):
    images, loss = random_images(), quadratic()
    attack = Noise() if name == "noise" else PGD(random_start=True, steps=2, step_size=0.01)
    state = torch.get_rng_state()
    first, again, other = (attack(images, only(loss), generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert (first != other).float().mean() > 0.3


@pytest.mark.parametrize("name", REAL)
def test_without_gradients_around_it(name):
    images, loss = random_images(), quadratic()
    expected = BUILD[name]()(images, only(loss), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attacked = BUILD[name]()(images, only(loss), generator=torch.Generator().manual_seed(0))
    assert torch.equal(attacked, expected)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("epsilon", [-0.01, 1.01, 8, float("nan")])
def test_impossible_epsilon_is_refused(name, epsilon):
    with pytest.raises(InputError, match=re.escape("attack.epsilon: expected a distance in [0, 1]")):
        BUILD[name](epsilon=epsilon)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"steps": 0}, "attack.steps: expected a whole number of at least 1, got 0"),
        ({"steps": -1}, "attack.steps"),
        ({"step_size": 0}, "attack.step_size: expected a distance in (0, 1], got 0"),
        ({"step_size": -0.1}, "attack.step_size"),
        ({"step_size": 1.5}, "attack.step_size"),
        ({"step_size": float("nan")}, "attack.step_size"),
    ],
)
def test_impossible_steps_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=re.escape(complaint)):
        PGD(**arguments)


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_raised(objective, network_name):
    net, made = network(network_name), batch()
    with undisturbed(net):
        losses = losses_of(net, made["targets"])
        attacked = APGD(epsilon=EPSILON, steps=5, objective=objective)(made["images"], losses)
        clean, reached = (losses[objective](images) for images in (made["images"], attacked))
    if objective.startswith(
        "average_precision"
    ):  # untrained networks find nothing that could be lost: tests/attacks/objectives
        assert reached.isfinite().all()
        return
    assert (reached >= clean).all()
    if objective != "margins":  # which is at its largest value already
        assert (reached > clean).all()


class Centred:
    """A view of a network without objectness, and with a term of its own."""

    def losses(self, targets):
        count = float(len(targets[0]["labels"]))
        return LossTerms(classification=torch.tensor([3.0 + count]), centerness=torch.tensor([5.0]))


def test_networks_may_have_other_loss_terms():
    reading = Reading(cast(Any, Centred()), [target([[5, 9, 40, 50]], [0])], 2)
    assert float(objective_of("terms.centerness")(reading)) == 5.0
    assert float(objective_of("total")(reading)) == 9.0
    assert float(OBJECTIVES["fabrication"](reading)) == 3.0, "where background is a class, classification says it"
    assert float(OBJECTIVES["vanishing"](reading)) == -3.0
    for name, asked in (("box", "box"), ("objectness", "objectness"), ("terms.mask", "mask")):
        said = f"a loss term of the network, which has classification, centerness, got {asked}"
        with pytest.raises(InputError, match=said):
            objective_of(name)(reading)


def test_an_attack_raises_a_term_that_only_its_network_has():
    net, images = network("yolov3_nano").eval(), batch()["images"]
    own = net.losses
    net.losses = lambda raw, targets: LossTerms(**own(raw, targets), brightness=raw[0].flatten(1).mean(1))
    attacked = PGD(epsilon=0.05, steps=2, objective="terms.brightness")(images, losses_of(net, batch()["targets"]))
    assert (net(attacked)[0].flatten(1).mean(1) > net(images)[0].flatten(1).mean(1)).all()
    with pytest.raises(InputError, match=r"expected one of total, .*, or terms\.<name> for another loss term"):
        PGD(objective="brightness")


def test_objectives_by_hand():
    """Of one map of one anchor with two cells, one of them with an object of the first of two classes."""
    terms = {
        "truth": LossTerms(box=torch.tensor([1.0]), objectness=torch.tensor([2.0]), classification=torch.tensor([4.0])),
        "empty": LossTerms(box=torch.tensor([0.0]), objectness=torch.tensor([8.0]), classification=torch.tensor([0.0])),
        "other class": LossTerms(
            box=torch.tensor([1.0]), objectness=torch.tensor([2.0]), classification=torch.tensor([16.0])
        ),
    }

    class View:
        def losses(self, targets):
            labels = targets[0]["labels"].tolist()
            assert len(targets[0]["boxes"]) == len(labels)
            return terms["truth" if labels == [0] else "empty" if labels == [] else "other class"]

        def margins(self, targets):
            return torch.tensor([3.0])

        # The object is found with certainty, and nothing else is.
        def candidates(self):
            return Candidates(torch.tensor([[[5.0, 9, 40, 50]]]), torch.tensor([[[0.9, 0.0]]]))

        overlap = 0.6

    reading = Reading(View(), [target([[5, 9, 40, 50]], [0])], 2)
    found = {name: float(objective(reading)) for name, objective in OBJECTIVES.items()}
    # Right at every threshold to a share r, that of the sigmoid. If it were less certain than it is, it would be worth
    # (r + 1) / 2; more certain, 1 + r (1 - r) / 2, or take r^2 / 2 if wrong. Of the table 0.9 lies between two points.
    r = np.array([1 / (1 + math.exp(-(1 - threshold / 100) / 0.05)) for threshold in range(50, 100, 5)])
    above = (math.log(9) - 2.125) / 0.125
    worth = (1 - above) * (r + 1) / 2 + above * (1 + r * (1 - r) / 2)
    takes = above * (r * r / 2)
    for name in ("", "_boxes", "_confidences", "_pooled"):
        assert found.pop(f"average_precision{name}") == pytest.approx(-(r * worth - (1 - r) * takes).mean(), abs=1e-4)
    assert found == {
        "total": 7.0, "box": 1.0, "objectness": 2.0, "classification": 4.0,
        "vanishing": -8.0, "fabrication": 8.0, "mislabelling": -19.0, "margins": -3.0,
    }  # fmt: skip
    with pytest.raises(InputError, match="expected two classes or more for mislabelling, got one"):
        OBJECTIVES["mislabelling"](reading._replace(num_classes=1))


@pytest.mark.parametrize(("goal", "sign"), [("vanishing", -1), ("fabrication", 1)])
def test_objects_vanish_and_appear(goal, sign):
    net, made = network("yolov3"), batch()
    with undisturbed(net):
        attacked = PGD(epsilon=EPSILON, objective=goal)(made["images"], losses_of(net, made["targets"]))
        before, after = (net.objectness(net(images)).sigmoid().sum(1) for images in (made["images"], attacked))
    assert (sign * (after - before) > 0).all()


@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "noise"])
def test_more_tries_are_no_weaker(name):
    images, loss = random_images(), rugged()
    answers = []
    for restarts in (1, 2, 6):
        options = {"random_start": True} if name in ("pgd", "apgd") else {}
        attack = BUILD[name](epsilon=EPSILON, restarts=restarts, **options)
        answers.append(loss(attack(images, only(loss), generator=torch.Generator().manual_seed(0))))
    assert (answers[1] >= answers[0]).all()
    assert (answers[2] >= answers[1]).all()
    assert (answers[2] > answers[0]).any()


def rugged():
    """A loss with many hills."""
    weights = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    return lambda images: ((images * 60 + weights).sin() * weights.roll(1)).sum((1, 2, 3))


@pytest.mark.parametrize("name", REAL)
def test_images_are_attacked_apart(name):
    """What one image becomes does not depend on which others are in the batch."""
    if name in ("noise", "square"):
        pytest.skip("every image of a batch draws in turn")
    if name == "average_precision":
        pytest.skip("what a detection is worth is read from all images of a batch")
    net, made = network("yolov3_tiny"), batch()
    with undisturbed(net):
        both = BUILD[name]()(made["images"], losses_of(net, made["targets"]))
        alone = BUILD[name]()(made["images"][1:], losses_of(net, made["targets"][1:]))
    assert ((both[1:] - alone).abs() > 1e-6).float().mean() < 1e-3


def toy_classifier():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
    images, labels = torch.rand(3, 3, 12, 12), torch.tensor([0, 3, 4])
    model(images)
    return model, images, labels


def test_pgd_is_that_of_captum():
    """An independent library: captum.robust.PGD on a toy classifier."""
    model, images, labels = toy_classifier()
    theirs = captum.robust.PGD(model, torch.nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    expected = theirs.perturb(images, radius=0.05, step_size=0.02, step_num=4, target=labels).detach()
    found = PGD(epsilon=0.05, step_size=0.02, steps=4)(
        images, only(lambda moved: torch.nn.functional.cross_entropy(model(moved), labels, reduction="none"))
    )
    # A gradient that is nearly 0 may change its sign with the rounding of the point where it is taken.
    assert ((found - expected).abs() > 1e-6).float().mean() < 2e-3


def test_pgd_in_the_l2_ball_is_the_plain_loop():
    model, images, labels = toy_classifier()

    def loss(moved):
        return torch.nn.functional.cross_entropy(model(moved), labels, reduction="none")

    found = PGD(epsilon=0.8, step_size=0.3, steps=4, norm="l2")(images, only(loss))
    for clean, label, answer in zip(images, labels, found, strict=True):
        current = clean.numpy().astype(np.float64)
        for _ in range(4):
            variable = torch.tensor(current[None], dtype=torch.float32, requires_grad=True)
            torch.nn.functional.cross_entropy(model(variable), label[None]).backward()
            assert variable.grad is not None
            gradient = variable.grad[0].numpy().astype(np.float64)
            current = current + 0.3 * gradient / np.sqrt((gradient**2).sum())
            length = np.sqrt(((current - clean.numpy()) ** 2).sum())
            if length > 0.8:
                current = clean.numpy() + (current - clean.numpy()) * 0.8 / length
            current = current.clip(0, 1)
        np.testing.assert_allclose(answer, current, atol=1e-5)


@pytest.mark.parametrize("name", ["pgd", "noise", "apgd"])
def test_the_l2_ball(name):
    net, made = network("yolov3_tiny"), batch()
    region = region_of(made["images"])
    attack = BUILD[name](epsilon=2.0, norm="l2", **({"step_size": 1.0} if name == "pgd" else {}))
    with undisturbed(net):
        attacked = attack(
            made["images"], losses_of(net, made["targets"]), region=region, generator=torch.Generator().manual_seed(0)
        )
    change = attacked - made["images"]
    length = change.flatten(1).norm(dim=1)
    assert (length <= 2.0 + 1e-5).all()
    assert (length > (1.5 if name != "noise" else 0)).all(), "the edge of the ball is where the loss is highest"
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert not change[~region.expand_as(change)].any()


def test_noise_fills_the_l2_ball_evenly():
    """The share within half of the radius is 2^-dimensions."""
    images = torch.full((4000, 1, 1, 2), 0.5)
    attacked = Noise(epsilon=0.1, norm="l2")(images, only(None), generator=torch.Generator().manual_seed(0))
    length = (attacked - images).flatten(1).norm(dim=1)
    assert float((length < 0.05).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert length.max() <= 0.1 + 1e-6


@pytest.mark.parametrize("name", GUIDED)
def test_eight_bits_are_values_of_a_picture_within_the_ball(name):
    net, made = network("yolov3_tiny"), batch()
    region = region_of(made["images"])
    with undisturbed(net):
        losses = losses_of(net, made["targets"])
        generator = torch.Generator().manual_seed(0)
        attack = BUILD[name](epsilon=EPSILON, eight_bit=True)
        attacked = attack(made["images"], losses, region=region, generator=generator)
    change, inside = attacked - made["images"], region.expand_as(attacked)
    levels = attacked[inside] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert change.abs().max() <= EPSILON + 1e-5
    assert not change[~inside].any(), "padding is no pixel of a file"


def test_apgd_halves_its_step_and_goes_back_to_the_best():
    """On a parabola steps of twice the radius jump over the top; only shorter ones come near it."""
    images, top = torch.full((1, 3, 4, 4), 0.5), 0.5 + 0.013
    values = []

    def loss(moved):
        value = -(moved - top).square().sum((1, 2, 3))
        values.append(float(value))
        return value

    attacked = APGD(epsilon=0.05, steps=60)(images, only(loss))
    assert (attacked - top).abs().max() < 2e-3
    fixed = PGD(epsilon=0.05, step_size=0.1, steps=60)(images, only(loss))
    assert (fixed - top).abs().max() > 0.03


def test_apgd_answers_with_its_best_iterate():
    seen = {}

    def loss(moved):
        value = (moved * 40).sin().sum((1, 2, 3))
        for image, reached in zip(moved, value, strict=True):
            seen[float(reached)] = image.detach().clone()
        return value

    attacked = APGD(epsilon=EPSILON, steps=9)(random_images()[:1], only(loss))
    assert torch.equal(attacked[0], seen[max(seen)])


def test_square_asks_as_often_as_it_may_and_keeps_what_helps():
    images, loss = random_images(), quadratic()
    asked = []

    def counting(moved):
        assert not torch.is_grad_enabled()
        asked.append(loss(moved))
        return asked[-1]

    attacked = Square(epsilon=EPSILON, queries=60)(images, only(counting), generator=torch.Generator().manual_seed(0))
    assert len(asked) == 61, "one for the clean images"
    torch.testing.assert_close(loss(attacked), torch.stack(asked).amax(0))
    assert (loss(attacked) > loss(images)).all()
    step = (attacked - images).abs()
    inside = (images > EPSILON) & (images < 1 - EPSILON)
    assert ((step[inside] - EPSILON).abs() < 1e-6).float().mean() > 0.95, "at the border of the ball"


def test_square_shrinks_its_squares():
    attack = Square(queries=1000, area=0.3)
    sides = [attack._side(query, 100, 100) for query in (1, 2, 6, 21, 999)]
    assert sides == [55, 39, 27, 19, 2]


def test_carlini_wagner_finds_the_smallest_change():
    """For a linear margin the smallest change is known: the distance to the plane, along its normal."""
    weights = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.full((2, 3, 8, 8), 0.5)
    offset = torch.tensor([0.5, 1.0])

    def loss(moved):
        return -(offset - ((moved - 0.5) * weights).sum((1, 2, 3))).clamp(min=0)

    attack = CarliniWagner(epsilon=1.0, searches=9, steps=150, rate=0.01)
    attacked = attack(images, only(loss))
    assert (loss(attacked) >= 0).all()
    length = (attacked - images).flatten(1).norm(dim=1)
    torch.testing.assert_close(length, offset / weights.norm(), rtol=0.05, atol=0)
    tight = CarliniWagner(epsilon=1e-4, searches=2, steps=20)(images, only(loss))
    assert (loss(tight) < 0).all()
    assert (loss(tight) > loss(images)).all(), "what cannot be lost is at least weakened"


@pytest.mark.parametrize("name", ["total", "average_precision"])
def test_task_wise_takes_the_strongest_of_every_image(name):
    images = torch.full((2, 3, 4, 4), 0.5)
    up, down = (lambda moved, sign=sign: sign * moved.sum((1, 2, 3)) for sign in (1, -1))
    judge = lambda moved: torch.tensor([1.0, -1.0]) * moved.sum((1, 2, 3))  # noqa: E731
    losses = {"box": up, "classification": down, "total": up, name: judge}
    attacked = TaskWise(epsilon=0.1, objectives=["box", "classification"], judge=name)(images, losses)
    torch.testing.assert_close(attacked, images + torch.tensor([0.1, -0.1])[:, None, None, None])


def test_a_mixture_draws_one_of_two_for_every_batch():
    images, losses = torch.full((1, 3, 4, 4), 0.5), only(lambda moved: moved.sum((1, 2, 3)))
    up: dict[str, Any] = {"epsilon": 0.1, "step_size": 0.1}
    first, second = PGD(steps=1, objective="box", **up), PGD(steps=4, **up)
    losses = {**losses, "box": lambda moved: -moved.sum((1, 2, 3))}

    def moved(share, seed=0, factor=1.0):
        generator = torch.Generator().manual_seed(seed)
        mixture = Mixture(first=first, second=second, share=share).scaled(factor)
        change = mixture(images, losses, generator=generator) - images
        assert len(change.unique()) == 1
        return round(float(change.flatten()[0]), 6)

    assert {moved(1.0, seed) for seed in range(8)} == {-0.1}
    assert {moved(0.0, seed) for seed in range(8)} == {0.1}
    drawn = [moved(0.25, seed) for seed in range(200)]
    assert drawn == [moved(0.25, seed) for seed in range(200)]
    assert 30 < drawn.count(-0.1) < 70
    assert moved(1.0, factor=0.5) == -0.05
    assert Mixture(first=first, second=second, share=0.5).cost == (3, 0), "2.5, rounded up"
    with pytest.raises(InputError, match=r"attack\.second: expected the ball of the first"):
        Mixture(first=first, second=PGD(epsilon=0.2))
    with pytest.raises(InputError, match=r"linf of 0.1, padding False, got linf of 0.1, padding True"):
        Mixture(first=first, second=PGD(padding=True, **up))
    rounded = Mixture(first=first, second=PGD(eight_bit=True, **up))
    assert (rounded.eight_bit, Mixture(first=first, second=second).eight_bit) == (True, False)
    with pytest.raises(InputError, match=r"attack\.share: expected a share of the batches"):
        Mixture(first=first, second=second, share=1.5)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan")])
@pytest.mark.parametrize("name", REAL)
def test_images_outside_0_to_1_are_refused(name, value):
    images = random_images()
    images[1, 0, 3, 3] = value
    said = r"finite images, got 1 of" if math.isnan(value) else r"images in \[0, 1\], got values from"
    with pytest.raises(InputError, match=rf"attack: expected {said}"):
        BUILD[name]()(images, only(quadratic()))


@pytest.mark.parametrize(
    ("attack", "arguments", "complaint"),
    [
        (PGD, {"norm": "l1"}, "attack.norm: expected one of linf, l2, got 'l1'"),
        (PGD, {"objective": "recall"}, "attack.objective: expected one of total, box"),
        (PGD, {"restarts": 0}, "attack.restarts: expected a whole number of at least 1, got 0"),
        (PGD, {"restarts": 1.5}, "attack.restarts: expected a whole number of at least 1, got 1.5"),
        (PGD, {"epsilon": None}, "attack.epsilon: expected a distance, got None"),
        (PGD, {"eight_bit": "yes"}, "attack.eight_bit: expected true or false, got 'yes'"),
        (PGD, {"eight_bit": True, "norm": "l2", "epsilon": 2}, "attack.eight_bit: expected norm=linf, got l2"),
        (CarliniWagner, {"restarts": 2}, "attack.restarts: expected 1 for Carlini and Wagner, got 2"),
        (PGD, {"norm": "l2", "epsilon": -1}, "attack.epsilon: expected a Euclidean distance in [0, 10000], got -1"),
        (APGD, {"steps": 0}, "attack.steps: expected a whole number of at least 1, got 0"),
        (Square, {"queries": 0}, "attack.queries: expected a whole number of at least 1, got 0"),
        (Square, {"area": 0}, "attack.area: expected a share of the image in (0, 1], got 0"),
        (Square, {"norm": "l2", "epsilon": 2}, "attack.norm: expected linf for Square, got l2"),
        (CarliniWagner, {"objective": "total"}, "attack.objective: expected margins for Carlini and Wagner, got total"),
        (CarliniWagner, {"searches": 0}, "attack.searches: expected a whole number of at least 1, got 0"),
        (CarliniWagner, {"rate": 0}, "attack.rate: expected a number above 0, got 0"),
        (TaskWise, {"objectives": "box"}, "attack.objectives: expected a list, as in [box,classification], got 'box'"),
        (TaskWise, {"objectives": []}, "attack.objectives: expected a list"),
        (TaskWise, {"judge": "recall"}, "attack.judge: expected one of total, box"),
    ],
)
def test_impossible_settings_are_refused(attack, arguments, complaint):
    with pytest.raises(InputError, match=re.escape(complaint)):
        attack(**arguments)


def test_a_network_without_margins_is_named():
    net, made = network("yolov3_tiny"), batch()

    class Plain(torch.nn.Module):
        num_classes = 2

        def forward(self, images):
            return net(images)

        def losses(self, raw, targets):
            return net.losses(raw, targets)

    losses = losses_of(Plain(), made["targets"])
    assert (PGD()(made["images"], losses) != made["images"]).any()
    with pytest.raises(InputError, match="expected an objective that Plain has a term for, got margins"):
        PGD(objective="margins")(made["images"], losses)
    with pytest.raises(InputError, match="got average_precision, which needs a method decode"):
        PGD(objective="average_precision")(made["images"], losses)


def test_ap_is_attacked_by_the_boxes_that_are_scored():
    """Which are clipped to the images."""
    net, made = network("yolov3_tiny"), batch()
    raw, size = net(made["images"]), made["images"].shape[-2:]
    every, view = net.decode(raw), NetworkView(net, raw, size)
    boxes, confidences = view.candidates()
    assert every.boxes.min() < 0
    assert every.boxes.max() > max(size)
    assert 0 <= boxes.min() <= boxes.max() <= max(size)
    inside = ((every.boxes >= 0) & (every.boxes <= min(size))).all(2)
    assert torch.equal(boxes[inside], every.boxes[inside])
    assert torch.equal(confidences, every.confidences)
    assert view.overlap == net.nms_settings.iou


def test_checkpoints_are_those_of_the_paper():
    assert sorted(checkpoints_of(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints_of(10)) == [3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_that_is_not_finite_is_said(norm, caplog):
    images = random_images()

    def loss(moved):
        bad = torch.where(moved < 0.1, (moved - moved.detach()).sqrt(), moved)  # an infinite slope
        return bad.sum((1, 2, 3))

    epsilon = EPSILON if norm == "linf" else 2.0
    attacked = PGD(epsilon=epsilon, step_size=None, norm=norm, steps=2)(images, only(loss))
    assert attacked.isfinite().all()
    assert "gradients of 2 of 2 attacked images are not finite" in caplog.text


def test_steps_that_do_not_reach_the_ball_are_said(caplog):
    PGD(epsilon=2.0, norm="l2")
    assert "5 steps of 0.02 reach 0.1 of epsilon 2" in caplog.text
    caplog.clear()
    PGD()
    assert not caplog.text


def test_squares_lie_where_pixels_may_change():
    images = torch.full((1, 3, 40, 40), 0.5)
    region = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    region[:, :, 10:20, 5:30] = True
    moved = torch.zeros(1, 3, 40, 40, dtype=torch.bool)
    seen: list[torch.Tensor] = []

    def loss(tried):
        if seen:
            moved.logical_or_(tried != seen[-1])
            assert len(seen) < 2 or (tried != images).any(), "every query tries something"
        seen.append(tried.clone())
        return torch.zeros(1)

    Square(epsilon=0.1, queries=30)(images, only(loss), region=region, generator=torch.Generator().manual_seed(0))
    assert len(seen) == 31
    assert not moved[~region.expand_as(moved)].any()


def confident(name="yolov3"):
    """A network that is sure of objects everywhere, so that there are margins to lose."""
    net = answering(name)
    with torch.no_grad():
        for head_name, module in net.named_modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                assert "head" in head_name
                module.bias.view(net.split.anchors, -1)[:, 4] += 5.0
    return net


@pytest.mark.parametrize("name", ["carlini_wagner", "pgd"])
def test_margins_are_lost(name):
    net, made = confident(), batch()
    made_by: Any = {
        "carlini_wagner": CarliniWagner(epsilon=0.2, searches=3, steps=40, rate=0.1),
        "pgd": PGD(epsilon=0.2, objective="margins", steps=20),
    }
    with undisturbed(net):
        losses = losses_of(net, made["targets"])
        clean = losses["margins"](made["images"])
        attacked = made_by[name](made["images"], losses)
        reached = losses["margins"](attacked)
    assert (clean < -0.1).all()
    assert (reached > clean * 0.5).all()
