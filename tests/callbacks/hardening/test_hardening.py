"""Ways of adversarial training: what the training step sees under each of them, and what it costs."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from hydra_det.attacks.base import Cost
from hydra_det.attacks.corruptions import Corruption
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise
from hydra_det.boxes import Letterbox
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.callbacks.hardening.consistent_batch import ConsistentBatch
from hydra_det.callbacks.hardening.free_adversarial_batch import FreeAdversarialBatch
from hydra_det.callbacks.hardening.overfitting_watch import OverfittingWatch
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError, LossTerms
from tests.callbacks.example import TinyData, detector, fake_trainer, trainer
from tests.modules.example import batch, network, target

EPSILON = 0.03
Strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)


class Grey:
    """An attack that says how strong it was."""

    norm, cost = "linf", Cost(0, 0)

    def __init__(self, epsilon=0.4):
        self.epsilon = epsilon

    def scaled(self, factor):
        return Grey(self.epsilon * factor)

    def __call__(self, images, losses, *, region=None, generator=None):
        return torch.full_like(images, self.epsilon)


@pytest.fixture
def module():
    return detector(network("yolov3"))


def step(callback, module, *, epoch=0, index=0, made=None):
    """What a training step sees."""
    made = made or batch(seed=index)
    callback.on_train_batch_start(fake_trainer(current_epoch=epoch, strategy=Strategy), module, made, index)
    return made


@pytest.mark.parametrize(("part", "expected"), [(1.0, 2), (0.5, 1), (0.3, 1)])
def test_part_of_a_batch(part, expected, module):
    clean, seen = batch()["images"], step(AdversarialBatch(Grey(), share=1, part=part), module)["images"]
    assert (seen[:expected] == 0.4).all()
    assert torch.equal(seen[expected:], clean[expected:])


def test_training_has_an_attack_of_its_own(module):
    callback = AdversarialBatch(Grey(0.1), training=Grey(0.2), share=1)
    assert (step(callback, module)["images"] == torch.tensor(0.2)).all()
    made = batch()
    callback.on_validation_batch_start(fake_trainer(), module, made, 0, 1)
    assert (made["images"] == torch.tensor(0.1)).all()


def test_epsilon_grows_by_equal_steps(module):
    callback = AdversarialBatch(Grey(0.4), share=1, first_epoch=2, ramp_epochs=3)
    found = [round(float(step(callback, module, epoch=epoch)["images"][0, 0, 0, 0]), 3) for epoch in range(2, 8)]
    assert found == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    made = batch()
    callback.on_validation_batch_start(fake_trainer(current_epoch=2), module, made, 0, 1)
    assert (made["images"] == torch.tensor(0.4)).all(), "scores do not depend on the curriculum"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"part": 0}, r"hardening\.part: expected a share in \(0, 1\], got 0"),
        ({"part": 1.5}, r"hardening\.part"),
        ({"resolution": 0}, r"hardening\.resolution"),
        ({"training": PGD(epsilon=1.0, norm="l2")}, r"attacks of one norm, got attack\.norm=linf and l2 in training"),
        (
            {"resolution": 0.5, "training": Corruption(kind="fog")},
            r"resolution: expected 1 with another norm",
        ),
        ({"resolution": 0.5, "training": PGD(eight_bit=True)}, r"hardening\.resolution: expected 1 with eight_bit"),
        ({"ramp_epochs": 1, "training": Corruption(kind="fog")}, r"ramp_epochs: expected 0 with attack=corruption"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        AdversarialBatch(Noise(), **options)
    for make, wrong in (
        (lambda: FreeAdversarialBatch(Noise(), epsilon=0.1, replays=1), r"hardening\.replays: expected a whole"),
        (lambda: FreeAdversarialBatch(Noise(), epsilon=2.0), r"hardening\.epsilon: expected a distance in \[0, 1\]"),
        (lambda: FreeAdversarialBatch(PGD(norm="l2"), epsilon=0.1), r"attacks of one norm"),
        (lambda: ConsistentBatch(Noise(), weight=0), "weight"),
        (lambda: OverfittingWatch(PGD(), least=1.0), "least"),
        (lambda: OverfittingWatch(None), "fall back"),
        (lambda: OverfittingWatch(PGD(), every=0), r"hardening\.watch\.every: expected a whole"),
        (lambda: OverfittingWatch(PGD(objective="vanishing")), r"raises the total loss, got objective=vanishing"),
    ):
        with pytest.raises(InputError, match=wrong):
            make()


def test_half_resolution_moves_squares_of_pixels(module, monkeypatch):
    net: Any = module.net
    asked, sides = net.losses, []

    def losses(raw, targets):
        sides.append(targets)
        return asked(raw, targets)

    monkeypatch.setattr(net, "losses", losses)
    wide = Letterbox(size=64, width=64, height=32)  # rows 16 to 47
    truth = [target([[20, 20, 40, 40]], [0], letterbox=wide), target([[8, 8, 24, 40]], [1])]
    made = Batch(images=torch.full((2, 3, 64, 64), 0.5), targets=truth)
    with undisturbed(net):
        moved = attacked_images(net, made, FGSM(epsilon=EPSILON), resolution=0.5)
    change = moved - made["images"]
    assert len(sides) == 1
    assert sides[0][1]["boxes"].tolist() == [[4, 4, 12, 20]], "the ground truth shrinks with the images"
    assert truth[1]["boxes"].tolist() == [[8, 8, 24, 40]]
    assert not change[0, :, :16].any()
    assert not change[0, :, 48:].any()
    squares = change.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (squares == squares[..., :1]).all()
    assert change.abs().max() == pytest.approx(EPSILON)
    assert (change[1] != 0).float().mean() > 0.9
    # What is lower than the stride of the network allows is as low as it allows, and no share is exceeded.
    large = Batch(
        images=torch.full((1, 3, 160, 160), 0.5),
        targets=[target([[8, 8, 24, 40]], [1], letterbox=Letterbox(160, 160, 160))],
    )
    with undisturbed(net):
        attacked_images(net, large, FGSM(epsilon=EPSILON), resolution=0.5)
    torch.testing.assert_close(sides[-1][0]["boxes"], torch.tensor([[8.0, 8, 24, 40]]) * 64 / 160)
    with undisturbed(net):
        assert torch.equal(attacked_images(net, made, FGSM(epsilon=EPSILON), resolution=0.1), moved)


def test_an_attack_in_bfloat16_leaves_the_step_in_float32(module):
    seen = []
    module.net.register_forward_hook(lambda net, images, raw: seen.append(raw[0].dtype))
    exact = step(AdversarialBatch(PGD(steps=2), share=1), module)["images"]
    rounded = step(AdversarialBatch(PGD(steps=2), share=1, bf16=True), module)["images"]
    module.net(rounded)
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2 + [torch.float32]
    assert rounded.dtype == torch.float32
    same = (rounded - exact).abs() < 1e-6
    assert 0.7 < same.float().mean() < 1, "most signs agree, and not all: it was another precision"


class Ridge:
    """A network whose loss is a function of the mean pixel."""

    num_classes = 2

    def __init__(self, height):
        self.height = height

    def __call__(self, images):
        return images

    def losses(self, images, targets):
        value = self.height(images).mean((1, 2, 3))
        return LossTerms(box=value)


def honest(images):
    return images


def masked(images):
    """Rises for a third of the way and falls far below its start: one long step lands in the valley."""
    way = (images - 0.5) / 0.1
    return torch.where(way < 0.33, way, 0.33 - 10 * (way - 0.33))


@pytest.mark.parametrize(("height", "falls"), [(honest, False), (masked, True)])
def test_the_watch_knows_a_cheap_attack_that_stopped_working(height, falls):
    cheap, strong = FGSM(epsilon=0.1), PGD(epsilon=0.1, step_size=0.03, steps=5)
    watch = OverfittingWatch(strong, every=3)
    made = Batch(images=torch.full((2, 3, 64, 64), 0.5), targets=batch()["targets"])
    net = Ridge(height)
    for look in range(1, 7):
        moved = attacked_images(net, made, watch.choose(cheap) or cheap)
        watch.look(fake_trainer(current_epoch=4, global_step=look, strategy=Strategy), net, made, moved)
        assert len(watch.ratios) == (1 if falls or look < 4 else 2), "the first batch, and every third after it"
    assert watch.fell_back_at == ([4, 1] if falls else None)
    assert watch.choose(cheap) is (strong if falls else cheap)
    if not falls:
        assert watch.ratios == pytest.approx([1.0, 1.0], abs=0.01)
        assert watch.facts == {"fell_back_at": None, "looks": 2, "lowest_ratio": min(watch.ratios)}
    again = OverfittingWatch(strong, every=3)
    again.load_state_dict(copy.deepcopy(watch.state_dict()))
    assert again.state_dict() == watch.state_dict()
    assert again.choose(cheap) is watch.choose(cheap)


def test_a_network_that_never_saw_an_attack_is_not_overfitted():
    """There one step reaches a third of what many do, which is no reason to give it up."""
    watch = OverfittingWatch(PGD(epsilon=0.1, step_size=0.03, steps=3), every=1)
    made = Batch(images=torch.full((2, 3, 64, 64), 0.5), targets=batch()["targets"])
    net = Ridge(lambda images: torch.where(images < 0.599, images, 0.533))
    moved = attacked_images(net, made, FGSM(epsilon=0.1))
    watch.look(fake_trainer(strategy=Strategy), net, made, moved)
    assert watch.ratios == pytest.approx([0.367], abs=0.01)
    assert watch.fell_back_at is None


def test_the_fallback_attacks_from_then_on(module):
    watch = OverfittingWatch(Grey(0.9), every=1, least=0.99)
    callback = AdversarialBatch(Grey(0.1), training=Grey(0.2), share=1, resolution=0.5, watch=watch)
    assert (step(callback, module)["images"] != 0.9).all()
    assert callback.facts["fell_back_at"] is None
    watch.fell_back_at = [0, 1]
    assert (step(callback, module)["images"] == torch.tensor(0.9)).all()
    assert callback.facts["fell_back_at"] == [0, 1]
    other = AdversarialBatch(Grey(0.1), training=Grey(0.2), watch=OverfittingWatch(Grey(0.9)))
    other.load_state_dict(callback.state_dict())
    assert other.facts == callback.facts


def test_a_growing_epsilon_is_no_overfitting(module):
    """The fallback of a look is as strong as the cheap attack is in that epoch."""
    watch = OverfittingWatch(PGD(epsilon=EPSILON, step_size=None), every=1, least=0.4)
    callback = AdversarialBatch(
        None, training=FGSM(epsilon=EPSILON), share=1, ramp_epochs=9, watch=watch, first_epoch=1
    )
    step(callback, module, epoch=1)
    assert watch.ratios[0] > 0.6
    assert watch.fell_back_at is None


def test_what_a_look_draws_repeats(module):
    """From the generator of the batch: a stage that was interrupted draws the same."""
    ratios = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        watch = OverfittingWatch(PGD(epsilon=EPSILON, random_start=True, steps=1), every=1)
        step(AdversarialBatch(None, training=FGSM(epsilon=EPSILON), share=1, watch=watch), module)
        ratios += watch.ratios
        untouched = torch.random.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(untouched, torch.random.get_rng_state())
    assert ratios[0] == ratios[1]


def test_an_attack_computes_in_the_precision_of_the_trainer(module):
    seen = []
    module.net.register_forward_hook(lambda net, images, raw: seen.append(raw[0].dtype))
    made = batch()
    plugin = MixedPrecision("bf16-mixed", "cpu")
    callback = AdversarialBatch(PGD(steps=1), share=1)
    callback.on_train_batch_start(fake_trainer(precision_plugin=plugin), module, made, 0)
    callback.on_validation_batch_start(fake_trainer(precision_plugin=plugin), module, batch(), 0, 1)
    assert seen == [torch.bfloat16] * 2
    assert made["images"].dtype == torch.float32


class Seen:
    """What every training step of a fit saw, and how many passes the network made."""

    def __init__(self, module):
        self.images, self.states, self.passes = [], [], 0
        module.net.register_forward_pre_hook(self.before)
        self.module = module

    def before(self, net, images):
        self.passes += 1
        if net.training:
            self.images.append(images[0].detach().clone())
            self.states.append(copy.deepcopy(net.state_dict()))


@pytest.mark.parametrize("fresh", [False, True])
def test_free_training_moves_images_along_the_gradient_of_the_step_before(fresh):
    module, data = detector(network("yolov3")), TinyData(4)
    seen = Seen(module)
    callback = FreeAdversarialBatch(None, epsilon=EPSILON, replays=2, fresh=fresh, share=1)
    trainer(callback).fit(module, datamodule=data)
    clean = [made["images"] for made in data.batches]
    assert seen.passes == len(seen.images) == 4, "no pass is made for the attack"
    assert torch.equal(seen.images[0], clean[0])
    other: Any = network("yolov3")
    for first, held in ((0, 0), (2, 2)):
        start, moved = seen.images[first : first + 2]
        other.load_state_dict(seen.states[first])
        images = start.clone().requires_grad_()
        loss = other.train().losses(other(images), data.batches[held]["targets"]).total.mean()
        (gradient,) = torch.autograd.grad(loss, images)
        ahead = (start + EPSILON * gradient.sign()).clamp(clean[held] - EPSILON, clean[held] + EPSILON).clamp(0, 1)
        torch.testing.assert_close(moved, ahead)
    carried = seen.images[2] - clean[2]
    assert float(carried.abs().max()) == (0 if fresh else pytest.approx(EPSILON))


def test_free_training_counts_groups_and_leaves_padding_alone(module):
    wide = Letterbox(size=64, width=64, height=32)
    callback = FreeAdversarialBatch(None, epsilon=EPSILON, replays=2, share=0.5, first_epoch=1)
    hardened = []
    for epoch in range(2):
        for index in range(8):
            made = Batch(
                images=torch.full((2, 3, 64, 64), 0.5 + index / 100),
                targets=[target([[20, 20, 40, 40]], [0], letterbox=wide), target([[8, 8, 24, 40]], [1])],
            )
            step(callback, module, epoch=epoch, index=index, made=made)
            if made["images"].requires_grad:
                hardened.append((epoch, index))
                assert float(made["images"].detach()[0, 0, 0, 0]) == pytest.approx(0.5 + (index - index % 2) / 100), (
                    "held"
                )
                assert not (made["images"][0, :, :16] - made["images"][0, 0, 0, 0]).any()
                module.net.losses(module.net(made["images"]), made["targets"]).total.mean().backward()
                callback.on_after_backward(fake_trainer(current_epoch=epoch), module)
    assert hardened == [(1, 2), (1, 3), (1, 6), (1, 7)]


def test_consistency_adds_the_disagreement_with_attacked_images():
    module, data = detector(network("yolov3")), TinyData(2)
    seen, losses = Seen(module), []
    callback = ConsistentBatch(PGD(epsilon=EPSILON, step_size=0.01, steps=3), weight=0.7, share=0.5)
    callback.on_train_batch_end = lambda *state: losses.append(float(state[2]["loss"]))  # type: ignore[method-assign]
    trainer(callback).fit(module, datamodule=data)
    clean = [made["images"] for made in data.batches]
    assert seen.passes == 1 + 3 + 2
    assert [torch.equal(*pair) for pair in zip(seen.images, [clean[0], clean[1], clean[1]], strict=True)] == [
        True, True, False,
    ]  # fmt: skip
    assert 0 < float((seen.images[2] - clean[1]).abs().max()) <= EPSILON + 1e-6
    other: Any = network("yolov3").train()
    other.load_state_dict(seen.states[1])
    raw = other(clean[1])
    plain = other.losses(raw, data.batches[1]["targets"]).total.mean()
    pulled = other.disagreement(raw, other(seen.images[2])).total.mean()
    assert losses[1] == pytest.approx(float((plain + 0.7 * pulled).detach()), rel=1e-4)
    assert float(pulled.detach()) > 0.01


def test_consistency_asks_for_a_network_that_compares():
    module = detector(network("yolov3"))
    module.net = torch.nn.Identity()
    with pytest.raises(InputError, match="compares two answers, got Identity"):
        ConsistentBatch(None).on_fit_start(fake_trainer(), module)
