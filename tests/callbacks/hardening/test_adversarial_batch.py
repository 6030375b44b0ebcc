"""Which batches are attacked, what the step sees of it, and that the network never knows."""

from typing import Any

import pytest
import torch

from hydra_det.attacks.base import Cost
from hydra_det.attacks.gradient import PGD
from hydra_det.attacks.noise import Noise
from hydra_det.boxes import Letterbox
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.modules.masked_conv import make_masked
from hydra_det.types import Batch, InputError
from tests.attacks.example import BUILD, GUIDED, MODEST, REAL
from tests.callbacks.example import TinyData, detector, fake_trainer, trainer
from tests.modules.example import NETWORKS, assert_untouched, batch, network, snapshot, target, unsettle
from tests.modules.test_masked_conv import scatter_masks


class Paint:
    """An attack that says it was here."""

    epsilon, norm, cost = 0.25, "linf", Cost(0, 0)

    def __init__(self):
        self.calls = 0

    def scaled(self, factor):
        return self

    def __call__(self, images, loss, *, region=None, generator=None):
        self.calls += 1
        return torch.full_like(images, 0.75)


@pytest.fixture(scope="module")
def module():
    return detector(network("yolov3"))


def attacked_batches(callback, module, *, epoch, batches=10):
    answer = []
    for index in range(batches):
        made = batch(seed=index)
        before = made["images"]
        callback.on_train_batch_start(fake_trainer(current_epoch=epoch, global_step=index), module, made, index)
        if made["images"] is not before:
            assert (made["images"] == 0.75).all()
            answer.append(index)
    return answer


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, []),
        (0.1, [9]),
        (0.25, [3, 7]),
        (0.5, [1, 3, 5, 7, 9]),
        (0.75, [1, 2, 3, 5, 6, 7, 9]),
        (1, list(range(10))),
    ],
)
def test_which_of_ten_batches(share, expected, module):
    callback = AdversarialBatch(Paint(), share=share, first_epoch=2)
    assert attacked_batches(callback, module, epoch=0) == []
    assert attacked_batches(callback, module, epoch=1) == []
    assert attacked_batches(callback, module, epoch=2) == expected
    assert attacked_batches(callback, module, epoch=7) == expected


@pytest.mark.parametrize("hook", ["on_validation_batch_start", "on_test_batch_start"])
def test_second_pass_alone_is_attacked(hook, module):
    callback = AdversarialBatch(Paint(), share=0, first_epoch=100)
    for dataloader_idx, attacked in ((0, False), (1, True)):
        made = batch()
        before = made["images"]
        getattr(callback, hook)(fake_trainer(), module, made, 0, dataloader_idx)
        assert (made["images"] is not before) == attacked
    made = batch()
    getattr(callback, hook)(fake_trainer(), module, made, 0)  # Lightning names no loader where there is one
    assert torch.equal(made["images"], batch()["images"])


class Asks(Paint):
    """An attack that notes what AP loses by a batch as it is."""

    def __init__(self):
        self.heard = []

    def __call__(self, images, losses, *, region=None, generator=None):
        self.heard.append(losses["average_precision"](images).tolist())
        return images


@pytest.mark.parametrize("when", ["validation", "test"])
def test_an_evaluation_ranks_its_attacked_batches_together(when, module):
    asks = Asks()
    callback = AdversarialBatch(asks)
    begin, attack = (getattr(callback, f"on_{when}_{which}_start") for which in ("epoch", "batch"))
    for _ in range(2):
        begin(fake_trainer(), module)
        for index in (0, 1, 0):
            attack(fake_trainer(), module, batch(seed=index), index, 1)
    first, second, again = asks.heard[:3]
    assert asks.heard[3:] == [first, second, again], "every evaluation begins anew"
    assert again != first, "among the detections of both"
    fresh = Asks()
    AdversarialBatch(fresh).on_test_batch_start(fake_trainer(), module, batch(seed=1), 1, 1)
    assert fresh.heard != [second]


def test_no_attack_changes_nothing(module):
    callback = AdversarialBatch(None, share=1)
    made = batch()
    before = made["images"]
    callback.on_train_batch_start(fake_trainer(), module, made, 0)
    callback.on_validation_batch_start(fake_trainer(), module, made, 0, 1)
    assert made["images"] is before


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_impossible_share_is_refused(share):
    with pytest.raises(InputError, match="expected a share"):
        AdversarialBatch(None, share=share)


def test_inference_mode_is_refused(module):
    callback = AdversarialBatch(Noise())
    with torch.inference_mode(), pytest.raises(InputError, match=r"trainer\.inference_mode: expected false"):
        callback.on_validation_batch_start(fake_trainer(), module, batch(), 0, 1)
    with pytest.raises(InputError, match=r"trainer\.inference_mode: expected false"):
        trainer(callback, inference_mode=True).validate(module, datamodule=TinyData(passes=2), verbose=False)


@pytest.mark.parametrize("attack", REAL)
def test_padding_is_not_perturbed(attack, module):
    # 64 x 32 pixels lie in rows 16 to 47; 40 x 80 pixels lie in columns 16 to 47.
    wide, tall = Letterbox(size=64, width=64, height=32), Letterbox(size=64, width=40, height=80)
    images = torch.full((3, 3, 64, 64), 0.5)
    targets = [target([[20, 20, 40, 40]], [k % 2], letterbox=box) for k, box in enumerate((wide, tall, None))]
    made = Batch(images=images, targets=targets)
    AdversarialBatch(BUILD[attack](), share=1).on_train_batch_start(fake_trainer(), module, made, 0)
    moved = (made["images"] - images).abs().amax(1) > 0
    assert not moved[0, :16].any()
    assert not moved[0, 48:].any()
    assert not moved[1, :, :16].any()
    assert not moved[1, :, 48:].any()
    for content in (moved[0, 16:48], moved[1, :, 16:48], moved[2]):
        assert attack in MODEST or content.float().mean() > 0.9


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("attack", REAL)
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_untouched(name, attack, fails, monkeypatch):
    net = make_masked(network(name))
    scatter_masks(net)
    module, made = detector(net), batch()
    unsettle(module)
    before, images = snapshot(module), made["images"].clone()
    callback = AdversarialBatch(BUILD[attack](), share=1)
    if fails and attack in GUIDED:
        verb = {"carlini_wagner": "margins", "average_precision": "decode"}.get(attack, "losses")
        asked: Any = getattr(net, verb)
        calls = []

        def broken(*said):
            calls.append(1)
            if len(calls) > 1 or attack == "fgsm":
                raise RuntimeError("the loss broke")
            return asked(*said)

        monkeypatch.setattr(net, verb, broken)
        with pytest.raises(RuntimeError, match="the loss broke"):
            callback.on_train_batch_start(fake_trainer(), module, made, 0)
        assert torch.equal(made["images"], images), "half an attack is none"
    else:
        callback.on_train_batch_start(fake_trainer(), module, made, 0)
        assert attack in MODEST or not torch.equal(made["images"], images)
    assert_untouched(module, before)


def test_it_attacks_the_network_that_is_scored(module):
    """In train mode BatchNorm would normalise by the batch: the images would fool another network."""
    net: Any = module.net.train()
    made, expected = batch(), batch()
    AdversarialBatch(PGD(steps=1, step_size=0.03), share=1).on_train_batch_start(fake_trainer(), module, made, 0)
    assert net.training
    images = expected["images"].requires_grad_()
    net.eval()
    loss = net.losses(net(images), expected["targets"]).total.sum()
    (gradient,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(made["images"], (images + 0.03 * gradient.sign()).clamp(0, 1).detach())


def drawn(module, *, seed=0, index=0, loader=None, **state):
    """What a noise attack draws for one batch."""
    made = Batch(images=torch.full((2, 3, 64, 64), 0.5), targets=batch()["targets"])
    callback = AdversarialBatch(Noise(), share=1, seed=seed)
    if loader is None:
        callback.on_train_batch_start(fake_trainer(**state), module, made, index)
    else:
        callback.on_validation_batch_start(fake_trainer(**state), module, made, index, loader)
    return made["images"]


def test_draws_are_repeatable_and_different(module):
    first = drawn(module)
    assert torch.equal(drawn(module), first)
    assert not torch.equal(drawn(module, seed=1), first)
    assert not torch.equal(drawn(module, global_rank=1), first)
    assert not torch.equal(drawn(module, global_step=1, index=1), first)
    assert not torch.equal(drawn(module, loader=1, index=1), drawn(module, loader=1, index=0))
    # Scores must not depend on how long was trained before.
    assert torch.equal(drawn(module, loader=1, global_step=9), drawn(module, loader=1))


def test_batches_of_one_accumulated_step_are_drawn_apart(module):
    same = torch.equal(drawn(module, index=0), drawn(module, index=1))
    assert not same, "two batches of one optimiser step share their noise"


def test_the_step_sees_what_was_attacked():
    seen: dict[str, list[bool]] = {"train": [], "clean": [], "attacked": []}
    paint = Paint()
    module = detector(network("yolov3"))
    module.net.register_forward_pre_hook(lambda net, images: record(images[0]))

    def record(images):
        where = "train" if module.training else ("clean", "attacked")[len(seen["clean"]) > 0]
        seen[where].append(bool((images == 0.75).all()))

    run = trainer(AdversarialBatch(paint, share=0.5), max_epochs=1)
    run.fit(module, datamodule=TinyData(4, passes=2))
    assert seen == {"train": [False, True, False, True], "clean": [False], "attacked": [True]}
    assert paint.calls == 3
