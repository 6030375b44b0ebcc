"""Attacks as MAITE augmentations: in their ball, of the size and type of what came in, and exact on our own images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hydra_det
from hydra_det.attacks import ATTACKS
from hydra_det.finished.predict import Predictor
from hydra_det.maite import MaiteAugmentation, MaiteDataset, MaiteModel
from hydra_det.maite.inputs import place
from hydra_det.types import InputError
from tests.attacks.example import BUILD, MODEST
from tests.maite.example import PICTURES, SIZE, Blobs, blobs_data

EPSILON = 8 / 255


def made(name: str) -> Any:
    return BUILD[name](kind="jpeg") if name == "corruption" else BUILD[name](epsilon=EPSILON)


def batch_of(dataset: MaiteDataset, count: int = 2) -> tuple[list[Any], list[Any], list[Any]]:
    images, targets, metadata = zip(*(dataset[index] for index in range(count)), strict=True)
    return list(images), list(targets), list(metadata)


def blobs_model(data: hydra_det.DetectionData) -> MaiteModel:
    return MaiteModel(Predictor(Blobs(), class_names=data.class_names, image_size=SIZE, confidence=0.0))


@pytest.mark.parametrize("pictures", [False, True], ids=["letterboxed", "pictures"])
@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "none"])
def test_every_attack_changes_images_and_nothing_else(finished: Path, name: str, pictures: bool) -> None:
    model, attack = MaiteModel.from_run(finished / "run"), made(name)
    state = {key: value.clone() for key, value in model.predictor.net.state_dict().items()}
    batch = batch_of(MaiteDataset(hydra_det.load_run(finished / "run").data, pictures=pictures))
    before = [image.copy() for image in batch[0]]
    images, targets, metadata = MaiteAugmentation(model, attack)(batch)
    assert targets is batch[1]
    assert metadata is batch[2]
    for image, given, kept in zip(images, batch[0], before, strict=True):
        assert (image.dtype, image.shape) == (given.dtype, given.shape)
        assert np.array_equal(given, kept)
        if name not in MODEST:
            assert not np.array_equal(image, given)
        top = 255 if pictures else 1
        assert image.min() >= 0
        assert image.max() <= top
        if attack.norm == "linf":
            assert np.abs(image.astype(float) - given).max() / top <= EPSILON + 1e-6
    assert all(torch.equal(value, state[key]) for key, value in model.predictor.net.state_dict().items())
    again, _, _ = MaiteAugmentation(model, attack)(batch)
    assert all(map(np.array_equal, again, images))


def test_letterboxed_images_are_attacked_as_by_the_library(tmp_path: Path) -> None:
    data, attack = blobs_data(tmp_path), hydra_det.PGD(epsilon=0.1, step_size=0.04, steps=3, random_start=True)
    batch = batch_of(MaiteDataset(data), 4)
    images, _, _ = MaiteAugmentation(blobs_model(data), attack, seed=5)(batch)
    ours = next(iter(data.test_dataloader()[0]))
    wanted = hydra_det.attack(Blobs(), ours["images"], ours["targets"], attack, seed=5)
    assert np.array_equal(np.stack(images), wanted.numpy())
    other, _, _ = MaiteAugmentation(blobs_model(data), attack, seed=6)(batch)
    assert not np.array_equal(np.stack(images), np.stack(other))


def test_floats_of_the_size_of_the_input_become_what_was_made_of_them() -> None:
    """Not nearly: a change that is taken out and added again would be rounded."""
    image, other = np.random.default_rng(0).random((2, 3, SIZE, SIZE)).astype(np.float32)
    assert not np.array_equal(image + (other - image), other)
    assert np.array_equal(place(image, SIZE, greyscale=False).moved(torch.from_numpy(other), 1.0), other)


def test_padding_stays_also_in_eight_bits(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    augment = MaiteAugmentation(blobs_model(data), hydra_det.FGSM(epsilon=0.1))
    image, target, metadata = MaiteDataset(data)[1]
    assert (image[:, :, :19] == 0.5).all(), "padding at the left of a tall picture"
    rounded = np.round(image * 255).astype(np.uint8)  # as a tool may hand it on
    for given in (image, rounded):
        (moved,), _, _ = augment(([given], [target], [metadata]))
        assert np.array_equal(moved[:, :, :19], given[:, :, :19])
        assert (moved[:, :, 19:45] != given[:, :, 19:45]).any()
    (moved,), _, _ = augment(([image], [target], [{"id": 1}]))
    assert (moved[:, :, :19] != 0.5).any(), "nothing says that this is padding"


@dataclass
class Foreign:
    """A target of somebody else."""

    boxes: Any
    labels: Any
    scores: Any


def test_the_change_lies_where_the_object_is_in_a_picture() -> None:
    """The loss of this network is linear: all that is bright around the box grows, and what lies within it shrinks."""
    model = MaiteModel(Predictor(Blobs(), class_names=["red", "green"], image_size=SIZE))
    target = Foreign([[40.0, 16.0, 88.0, 40.0]], [1], [1.0])
    picture = np.full((3, 64, 128), 100, dtype=np.uint8)  # is halved
    augment = MaiteAugmentation(model, hydra_det.FGSM(epsilon=20 / 255))
    (moved,), _, _ = augment(([picture], [target], [{"id": "a"}]))
    wanted = np.full((3, 64, 128), 120)
    wanted[1, 16:40, 40:88] = 80
    inner = np.ones((64, 128), dtype=bool)  # the edge of the box is smoothed where the change is enlarged
    inner[14:42, 38:90] = False
    inner[18:38, 42:86] = True
    assert np.array_equal(moved[:, inner], wanted[:, inner])
    (floats,), _, _ = augment(([picture / 255], [target], [{"id": "a"}]))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[:, inner], wanted[:, inner] / 255, atol=1e-6)


def test_a_scaled_change_stays_in_the_ball(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    batch = batch_of(MaiteDataset(data, pictures=True), len(PICTURES))
    images, _, _ = MaiteAugmentation(blobs_model(data), hydra_det.FGSM(epsilon=0.05))(batch)
    for image, given in zip(images, batch[0], strict=True):
        assert np.abs(image.astype(int) - given).max() == 12, "0.05 * 255 is 12.75"


def test_targets_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    augment = MaiteAugmentation(blobs_model(blobs_data(tmp_path)), hydra_det.FGSM(epsilon=0.1))
    image, odd = np.zeros((3, 8, 8), np.uint8), Foreign([[0, 0, 4, 4]], [2], [1.0])
    with pytest.raises(InputError, match=r"targets\[0\]: expected labels below 2, the classes of the network"):
        augment(([image], [odd], [{"id": 1}]))


def test_no_images_and_no_objects_are_no_error(tmp_path: Path) -> None:
    augment = MaiteAugmentation(blobs_model(blobs_data(tmp_path)), hydra_det.FGSM(epsilon=0.1))
    assert augment(([], [], [])) == ([], [], [])
    empty = Foreign(np.empty(0), np.empty(0), np.empty(0))
    (moved,), _, _ = augment(([np.zeros((3, 8, 8), np.uint8)], [empty], [{"id": 1}]))
    assert moved.max() > 0
    assert augment.metadata == {"id": "FGSM on hydra_det"}
