"""Every attack against every network: it stays in its ball, raises the loss and leaves no trace."""

import inspect
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hydra_det.attacks import ATTACKS
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import InputError
from tests.modules.example import NETWORKS, batch, network

EPSILON = 0.05
ROUNDING = 1e-7
BUILD: dict[str, Any] = {**ATTACKS}
REAL = [name for name in ATTACKS if name != "none"]


def loss_of(net, made):
    return lambda images: net.losses(net(images), made["targets"]).total


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
            images, loss_of(net, made), region=region, generator=torch.Generator().manual_seed(7)
        )
    assert torch.equal(images, before), "the clean images are somebody else's"
    assert (attacked.shape, attacked.dtype, attacked.requires_grad) == (images.shape, images.dtype, False)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    distance = (attacked - images).abs()
    assert EPSILON * 0.9 < distance.max() <= EPSILON + ROUNDING
    outside = (~region).expand_as(images)
    assert torch.equal(attacked[outside], images[outside])
    moved = distance[region.expand_as(images)] > 0
    assert moved.float().mean() > 0.8, "at 0 and 1 only one of two directions is left"


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("epsilon", [1 / 255, EPSILON])
def test_raises_the_loss_of_every_image(name, network_name, epsilon):
    net, made = network(network_name), batch()
    arguments = {} if name == "fgsm" else {"step_size": epsilon / 4}
    with undisturbed(net):
        loss = loss_of(net, made)
        clean = loss(made["images"])
        attacked = loss(BUILD[name](epsilon=epsilon, **arguments)(made["images"], loss))
        noisy = loss(Noise(epsilon=epsilon)(made["images"], loss, generator=torch.Generator().manual_seed(0)))
    assert (attacked > clean).all()
    assert (attacked - clean > (noisy - clean).abs()).all(), "noise is the weakest"


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("mode", [True, False])
def test_epsilon_0_is_the_identity(name, mode):
    net, made = network("yolov3_tiny"), batch()
    with torch.set_grad_enabled(mode), undisturbed(net):
        attacked = BUILD[name](epsilon=0)(made["images"], loss_of(net, made))
    assert torch.equal(attacked, made["images"])


def test_fgsm_is_the_sign_of_the_gradient():
    images, loss = random_images().requires_grad_(), quadratic()
    (gradient,) = torch.autograd.grad(loss(images).sum(), images)
    expected = np.clip(images.detach().numpy() + np.float32(0.03) * np.sign(gradient.numpy()), 0, 1)
    attacked = FGSM(epsilon=0.03)(images.detach(), loss)
    np.testing.assert_allclose(attacked, expected, atol=ROUNDING)
    one_step = PGD(epsilon=0.03, step_size=0.03, steps=1)(images.detach(), loss)
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
    attacked = PGD(**settings)(images, loss, region=region)
    np.testing.assert_allclose(attacked, expected, atol=ROUNDING * steps)


def test_pgd_is_the_plain_loop_on_a_network():
    net, made = network("yolov3"), batch()
    settings: dict[str, Any] = {"epsilon": EPSILON, "step_size": 0.02, "steps": 3}
    with undisturbed(net):
        loss = loss_of(net, made)
        expected = plain_pgd(made["images"], loss, **settings, region=None)
        attacked = PGD(**settings)(made["images"], loss)
    # A gradient that is nearly 0 may change its sign with the rounding of the point where it is taken.
    assert np.mean(np.abs(attacked.numpy() - expected) > 1e-6) < 1e-3


def test_pgd_steps_once_per_pass():
    calls = []
    loss = quadratic()

    def counting(images):
        calls.append(images.detach().clone())
        return loss(images)

    images = random_images()
    PGD(epsilon=EPSILON, step_size=0.02, steps=4)(images, counting)
    assert len(calls) == 4
    assert torch.equal(calls[0], images), "the start is the image itself"
    values = [loss(call) for call in calls]
    assert all((late > early).all() for early, late in pairwise(values))


def test_defaults_are_those_of_the_paper():
    pgd = {name: p.default for name, p in inspect.signature(PGD).parameters.items()}
    assert pgd == {"epsilon": 0.05, "step_size": 0.02, "steps": 5, "random_start": False}


@pytest.mark.parametrize("name", ["noise", "pgd"])
def test_what_is_drawn_is_uniform(name):
    images = torch.full((2, 3, 64, 64), 0.5)
    attack = Noise(epsilon=0.1) if name == "noise" else PGD(epsilon=0.1, random_start=True)
    attacked = attack(images, lambda moved: (moved * 0).sum((1, 2, 3)), generator=torch.Generator().manual_seed(0))
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
    first, again, other = (attack(images, loss, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert (first != other).float().mean() > 0.3


@pytest.mark.parametrize("name", REAL)
def test_without_gradients_around_it(name):
    images, loss = random_images(), quadratic()
    expected = BUILD[name]()(images, loss, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attacked = BUILD[name]()(images, loss, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attacked, expected)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("epsilon", [-0.01, 1.01, 8, float("nan")])
def test_impossible_epsilon_is_refused(name, epsilon):
    with pytest.raises(InputError, match=re.escape("attack.epsilon: expected a distance in [0, 1]")):
        BUILD[name](epsilon=epsilon)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"steps": 0}, "attack.steps: expected at least 1, got 0"),
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
