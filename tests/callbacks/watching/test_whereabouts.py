"""What an exception says of where it happened."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.detection_metrics import DetectionMetrics
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.watching import whereabouts
from hydra_det.callbacks.watching.whereabouts import Whereabouts, listed
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, fake_trainer, trainer
from tests.modules.example import network


class Fails(pl.Callback):
    """Raises in the second step."""

    def __init__(self, error):
        self.error = error

    def on_before_backward(self, trainer, module, loss):
        if trainer.global_step == 1:
            raise self.error


def test_another_exception_has_a_note_and_keeps_its_words():
    error = RuntimeError("out of order")
    with pytest.raises(RuntimeError, match=r"^out of order"):
        trainer(Whereabouts(name="finetune"), Fails(error)).fit(
            detector(network("yolov3_tiny")), datamodule=TinyData(2)
        )
    (note,) = error.__notes__
    assert note.startswith("finetune, epoch 1, step 2, batch of 2, images 1, 2, at most ")
    assert note.endswith(" GiB in use so far")


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 1)])
def test_memory_is_counted_as_the_system_does(monkeypatch, platform, unit):
    monkeypatch.setattr(whereabouts.sys, "platform", platform)
    monkeypatch.setattr(whereabouts.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * 2**30 // unit))
    run, error = fake_trainer(state=SimpleNamespace(fn="test")), RuntimeError("out of order")
    Whereabouts(name="finetune").on_exception(run, detector(network("yolov3_tiny")), error)
    assert error.__notes__[0].endswith("at most 3.0 GiB in use so far")


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_network_that_answers_nan_is_no_network_that_finds_nothing(verb):
    net = network("yolov3_tiny")
    # Training does not see the running statistics that evaluation goes by.
    spoilt = next(buffer for name, buffer in net.named_buffers() if name.endswith("running_mean"))
    data = TinyData(passes=1)
    data.batches[0]["targets"] = [{**t, "image_id": 7 + k} for k, t in enumerate(data.batches[0]["targets"])]

    class Spoil(pl.Callback):
        def on_validation_start(self, *_):
            spoilt.fill_(torch.nan)

        on_test_start = on_validation_start

    run = trainer(Spoil(), DetectionMetrics(), Whereabouts(name="evaluate"))
    where = "evaluate, epoch 1, step 2, validation" if verb == "fit" else "evaluate"
    with pytest.raises(
        InputError, match=rf"^{where}, images 7, 8: network: expected finite answers, got .* 2 of the 2"
    ):
        getattr(run, verb)(detector(net), datamodule=data)


def test_one_image_of_a_batch_is_named_alone():
    data = TinyData(passes=1)
    data.batches[0]["images"][1, 0, 30, 30] = torch.nan
    run = trainer(DetectionMetrics(), Whereabouts(name="evaluate"))
    with pytest.raises(InputError, match=r"^evaluate, images 2: .* for 1 of the 2 images"):
        run.test(detector(network("yolov3_tiny")), datamodule=data)


def test_a_callback_that_fails_on_a_batch_is_said_to_fail_on_that_batch():
    attack = PGD(epsilon=0.1, step_size=0.05, steps=1)
    data = TinyData(2)
    data.batches[1]["targets"] = [{**t, "image_id": 7 + k} for k, t in enumerate(data.batches[1]["targets"])]
    data.batches[1]["images"][1, 0, 30, 30] = torch.nan
    run = trainer(Whereabouts(name="pretrain"), AdversarialBatch(attack, share=1))
    with pytest.raises(
        InputError, match=r"^pretrain, epoch 1, step 2, images 8: attack: expected finite images, got 1 of"
    ):
        run.fit(detector(network("yolov3_tiny")), datamodule=data)


def test_between_batches_no_image_is_blamed():
    class Stop(pl.Callback):
        def on_train_epoch_end(self, *_):
            raise error

    error = RuntimeError("killed")
    with pytest.raises(RuntimeError):
        trainer(Whereabouts(name="pretrain"), Stop()).fit(detector(network("yolov3_tiny")), datamodule=TinyData(2))
    assert error.__notes__[0].startswith("pretrain, epoch 1, step 3, outside of a batch, at most ")


def test_many_ids_are_cut():
    assert listed(list(range(20))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 4 more"
