"""Where an attack may change pixels: never in letterbox padding, unless it says so."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hydra_det.attacks import ATTACKS
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.boxes import Letterbox
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.hardening.attacked_images import attack, attacked_images
from hydra_det.callbacks.hardening.free_adversarial_batch import FreeAdversarialBatch
from hydra_det.callbacks.hardening.overfitting_watch import OverfittingWatch
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.types import Batch, InputError
from tests.callbacks.example import detector, fake_trainer
from tests.modules.example import network, target
from tests.pipeline.tiny import compose

EPSILON = 0.03
CONFIGS = {name: compose([f"attack={name}"])["attack"] for name in ATTACKS}
ASKED = [name for name, config in CONFIGS.items() if "padding" in config]
SHORT = {"steps": 8, "queries": 60, "searches": 1}
WIDE = Letterbox(size=64, width=64, height=32)  # rows 16 to 47


@pytest.fixture(scope="module")
def net() -> Any:
    return network("yolov3")


def sure() -> Any:
    """A network that finds everything everywhere: Carlini and Wagner leave what is lost already as it is."""
    made = network("yolov3")
    with torch.no_grad():
        for head in made.heads:
            head.bias.add_(8)
    return made


def wide() -> Batch:
    """An image with padding above and below, in grey as it is filled, and one without."""
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    images[0, :, :16] = images[0, :, 48:] = 0.5
    truth = [target([[20, 20, 40, 40]], [0], letterbox=WIDE), target([[8, 8, 24, 40]], [1])]
    return Batch(images=images, targets=truth)


def made(name: str, **options: Any) -> Any:
    config = {key: value for key, value in CONFIGS[name].items() if key != "step_size"}
    short = {key: value for key, value in SHORT.items() if key in config}
    start = {"start": None} if "start" in config else {}
    return build.instantiate({**config, **short, **start, "epsilon": EPSILON, **options})


def in_padding(change: Tensor) -> Tensor:
    """Of the first image. [3, 32, 64]"""
    return torch.cat([change[0, :, :16], change[0, :, 48:]], dim=1)


def test_the_attacks_in_a_ball_can_be_asked() -> None:
    assert {"noise", "fgsm", "pgd", "apgd", "carlini_wagner", "square"} <= {*ASKED}
    assert not {"none", "corruption"} & {*ASKED}


@pytest.mark.parametrize("name", ASKED)
def test_padding_changes_within_the_ball_if_and_only_if_it_is_asked_for(name: str, net: Any) -> None:
    batch, net = wide(), sure() if name == "carlini_wagner" else net
    for padding in (False, True):
        asked = made(name, padding=padding)
        assert asked.padding is padding
        with undisturbed(net):
            generator = torch.Generator().manual_seed(0)
            change = attacked_images(net, batch, asked, generator=generator) - batch["images"]
        assert in_padding(change).any() == padding
        assert change[:, :, 16:48].any()
        assert change.abs().max() <= EPSILON + 1e-6


def test_the_euclidean_ball_counts_the_padding(net: Any) -> None:
    batch = wide()
    asked = made("pgd", norm="l2", epsilon=0.5, step_size=None, padding=True)
    with undisturbed(net):
        change = attacked_images(net, batch, asked) - batch["images"]
    assert in_padding(change).any()
    assert change.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5, 0.5], abs=0.01), "some is cut off at 0 and 1"


@pytest.mark.parametrize("padding", [False, True])
def test_it_is_meant_alike_everywhere(padding: bool, net: Any) -> None:
    batch, asked = wide(), FGSM(epsilon=EPSILON, padding=padding)
    for_users = attack(net, batch["images"], batch["targets"], asked)
    assert in_padding(for_users - batch["images"]).any() == padding
    with undisturbed(net):
        coarse = attacked_images(net, batch, asked, resolution=0.5)
    assert in_padding(coarse - batch["images"]).any() == padding
    trained = wide()
    AdversarialBatch(FGSM(epsilon=EPSILON), training=asked, share=1).on_train_batch_start(
        fake_trainer(), detector(net), trained, 0
    )
    assert in_padding(trained["images"] - batch["images"]).any() == padding


@pytest.mark.parametrize("padding", [False, True])
def test_free_training_does_as_its_evaluation_does(padding: bool, net: Any) -> None:
    callback = FreeAdversarialBatch(FGSM(epsilon=EPSILON, padding=padding), epsilon=EPSILON, replays=2, share=1)
    module, state = detector(net), fake_trainer()
    for index in range(2):
        seen = wide()
        callback.on_train_batch_start(state, module, seen, index)
        if index == 0:
            seen["images"].sum().backward()
            callback.on_after_backward(state, module)
    change = seen["images"].detach() - wide()["images"]
    assert change[0, :, 16:48].any()
    assert in_padding(change).any() == padding


@pytest.mark.parametrize("padding", [False, True])
def test_the_watch_compares_with_what_the_fallback_may_do(padding: bool, net: Any) -> None:
    seen = []

    class Seen(PGD):
        def __call__(self, images: Tensor, losses: Any, **options: Any) -> Tensor:
            seen.append(options["region"])
            return super().__call__(images, losses, **options)

    batch = wide()
    watch = OverfittingWatch(Seen(steps=1, padding=padding), every=1)
    state = fake_trainer(strategy=SimpleNamespace(reduce=lambda value, reduce_op: value))
    with undisturbed(net):
        watch.look(state, net, batch, batch["images"])
    assert seen[0].shape == (2, 1, 64, 64)
    assert in_padding(seen[0]).all() == in_padding(seen[0]).any() == padding


def test_training_in_one_step_follows_the_attack() -> None:
    for hardening in ("fast", "coarse"):
        for padding in (False, True):
            words = [f"hardening={hardening}", f"attack.padding={str(padding).lower()}"]
            training = compose(words)["stage"]["train_scores"]["callbacks"]["adversarial_batch"]["hardening"][
                "training"
            ]
            assert training["padding"] is padding
    assert not build.instantiate(compose(["hardening=fast", "attack=task_wise"])["hardening"]["training"]).padding


def test_anything_but_yes_or_no_is_refused() -> None:
    with pytest.raises(InputError, match=r"attack\.padding: expected true or false, got 'all'"):
        PGD(padding="all")
