"""A network as a MAITE model: pictures of any size and kind, in their own pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hydra_det
from hydra_det.finished.predict import Predictor
from hydra_det.maite import MaiteDataset, MaiteModel
from hydra_det.types import Detections, InputError
from tests.maite.example import SIZE, Blobs, blobs_data

NAMES = ["red", "green"]


def blobs(**options: Any) -> MaiteModel:
    return MaiteModel(Predictor(Blobs(), class_names=NAMES, image_size=SIZE, **{"confidence": 0.0, **options}))


def test_pictures_of_several_sizes_in_one_batch_are_answered_in_their_own_pixels(finished: Path) -> None:
    predictor = Predictor.from_run(finished / "run", confidence=0.0)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in ((40, 100), (64, 64), (90, 31))]
    answers = MaiteModel(predictor)(pictures)
    for picture, found in zip(pictures, answers, strict=True):
        wanted = predictor(picture.transpose(1, 2, 0)).clean.detections
        assert len(found.labels) == len(wanted.labels) > 0
        # A batch of three and one of one differ by rounding, which may swap what is equally certain.
        np.testing.assert_allclose(found.scores, wanted.confidences, rtol=1e-3)
        # Boxes and classes as points: classes are further apart than any two boxes.
        found_at = torch.from_numpy(np.column_stack([found.boxes, 1e4 * found.labels]))
        wanted_at = torch.cat([wanted.boxes, 1e4 * wanted.labels[:, None]], dim=1)
        assert (torch.cdist(found_at, wanted_at).amin(1) < 0.01).float().mean() > 0.95
        assert found.boxes.min() >= 0
        assert (found.boxes <= np.tile(picture.shape[:0:-1], 2)).all()


def test_a_box_lies_where_it_is_in_the_picture() -> None:
    picture = np.zeros((3, 64, 128), dtype=np.uint8)  # is halved, and 16 rows of padding lie above it
    picture[1, 20:40, 60:100] = 255
    (found,) = blobs()([picture])
    assert found.boxes.tolist() == [[60.0, 20.0, 100.0, 40.0]] * 4, "of four thresholds"
    assert found.labels.tolist() == [1] * 4
    assert found.scores.tolist() == pytest.approx([0.85, 0.75, 0.65, 0.55])


@pytest.mark.parametrize("kind", ["tensor", "with gradient", "list", "int64", "float64"])
def test_every_kind_of_array_is_the_same_picture(kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 20, 64), dtype=np.uint8)
    given: Any = {
        "tensor": torch.from_numpy(picture),
        "with gradient": torch.from_numpy(picture / 255).requires_grad_(),
        "list": picture.tolist(),
        "int64": picture.astype(np.int64),
        "float64": picture / 255,
    }[kind]
    before, after = blobs()([picture])[0], blobs()([given])[0]
    assert len(before.labels) > 0
    np.testing.assert_array_equal(after.boxes, before.boxes)
    np.testing.assert_array_equal(after.scores, before.scores)


def test_floats_of_the_size_of_the_input_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    model = blobs(greyscale=True)
    seen: list[torch.Tensor] = []
    detect = model.predictor.detect

    def watched(images: torch.Tensor) -> list[Detections]:
        seen.append(images)
        return detect(images)

    monkeypatch.setattr(model.predictor, "detect", watched)
    pixels = np.random.default_rng(0).random((3, SIZE, SIZE), dtype=np.float32)
    model([pixels, (pixels * 255).astype(np.uint8)])
    assert np.array_equal(seen[0][0].numpy(), pixels)
    assert torch.equal(seen[0][1, 0], seen[0][1, 1]), "a picture is shown in grey"


def test_a_model_of_a_run_answers_what_a_picture_needs(finished: Path) -> None:
    run = hydra_det.load_run(finished / "run")
    image, _, _ = MaiteDataset(run.data)[0]
    (everything,), (sure,) = (
        MaiteModel.from_run(finished / "run", "dense", confidence=least)([image]) for least in (0.0, 0.01)
    )
    assert len(everything.labels) == 100
    assert 0.001 <= everything.scores.min() < 0.01
    assert len(sure.labels) == (everything.scores >= 0.01).sum()


def test_no_images_are_answered_by_nothing() -> None:
    assert blobs()([]) == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((20, 30, 3), np.uint8), r"expected an array \[3, height, width\] of RGB, got uint8 \[20, 30, 3\]"),
        (np.zeros((1, 20, 30), np.uint8), r"got uint8 \[1, 20, 30\]"),
        (np.zeros((3, 0, 30), np.uint8), r"got uint8 \[3, 0, 30\]"),
        (np.zeros((3, 20, 30, 1), np.uint8), r"got uint8 \[3, 20, 30, 1\]"),
        (np.zeros((20, 30)), r"got float64 \[20, 30\]; MAITE puts the channels first"),
        (np.full((3, 8, 8), 200.0), r"floats in \[0, 1\], got float64 from 200 to 200; give uint8, or divide by 255"),
        (np.full((3, 8, 8), np.nan), "got float64 from nan to nan"),
        (np.full((3, 8, 8), -1), "got int64 from -1 to -1"),
        (np.full((3, 8, 8), 256), "got int64 from 256 to 256"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        blobs()([image])


def test_the_confidence_of_a_predictor_is_kept(tmp_path: Path) -> None:
    image, _, _ = MaiteDataset(blobs_data(tmp_path))[0]
    (found,) = blobs(confidence=0.7)([image])
    assert set(found.scores.round(2).tolist()) == {np.float32(0.75).item(), np.float32(0.85).item()}
