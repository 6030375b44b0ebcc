"""Our data as a MAITE data set: which image, which boxes, in which pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.boxes import Letterbox
from hydra_det.maite import MaiteDataset
from hydra_det.types import InputError
from tests.maite.example import PICTURES, blobs_data


def test_pictures_are_the_files_and_boxes_those_of_the_annotations(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    dataset: Any = MaiteDataset(data, pictures=True)
    assert len(dataset) == len(PICTURES)
    annotations = data.ground_truth("test")["annotations"]
    for (image, target, metadata), (width, height) in zip(list(dataset), PICTURES, strict=True):
        assert (image.dtype, image.shape) == (np.uint8, (3, height, width))
        with Image.open(tmp_path / "images" / f"{metadata['id']}.png") as file:
            assert np.array_equal(image.transpose(1, 2, 0), np.asarray(file))
        red, green = (one for one in annotations if one["image_id"] == metadata["id"])
        x, y, w, h = red["bbox"]
        np.testing.assert_allclose(target.boxes[0], [x, y, x + w, y + h])
        crowd = int(metadata["id"]) % 2
        assert target.labels.tolist() == ([0] if crowd else [0, 1])
        assert target.areas[0] == red["area"]
        assert target.scores.tolist() == [1.0] * len(target.labels)
        assert target.crowds.labels.tolist() == ([1] if crowd else [])
        if crowd:
            x, y, w, h = green["bbox"]
            np.testing.assert_allclose(target.crowds.boxes[0], [x, y, x + w, y + h])
        assert metadata.keys() == {"id"}


def test_letterboxed_images_have_their_boxes_in_them(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    letterboxed, pictures = MaiteDataset(data), MaiteDataset(data, pictures=True)
    assert PICTURES[5] == (64, 37)  # not scaled, 13 rows of padding above it
    (image, target, metadata), (picture, original, _) = letterboxed[5], pictures[5]
    assert (image.dtype, image.shape) == (np.float32, (3, 64, 64))
    np.testing.assert_allclose(image[:, 13:50], picture / 255, rtol=1e-6)
    assert (image[:, :13] == 0.5).all()
    np.testing.assert_allclose(target.boxes, np.add(original.boxes, [0, 13, 0, 13]))
    np.testing.assert_allclose(target.crowds.boxes, np.add(original.crowds.boxes, [0, 13, 0, 13]))
    assert target.areas.tolist() == original.areas.tolist()
    assert metadata == {"id": 13, "letterbox": Letterbox(64, 37, 64)}


def test_an_index_counts_from_the_end_and_has_one(tmp_path: Path) -> None:
    for pictures in (False, True):
        dataset: Any = MaiteDataset(blobs_data(tmp_path), pictures=pictures)
        assert np.array_equal(dataset[-1][0], dataset[len(dataset) - 1][0])
        assert len(list(dataset)) == len(dataset)
        for index in (len(dataset), -len(dataset) - 1):
            with pytest.raises(IndexError):
                _ = dataset[index]


def test_who_changes_an_image_changes_no_data(tmp_path: Path) -> None:
    for pictures in (False, True):
        dataset = MaiteDataset(blobs_data(tmp_path), pictures=pictures)
        before = dataset[2][0].copy()
        dataset[2][0][:] = 0
        assert np.array_equal(dataset[2][0], before)


def test_what_it_is_called_and_which_splits_there_are(tmp_path: Path) -> None:
    data = blobs_data(tmp_path)
    assert MaiteDataset(data, "train").metadata == {"id": "blobs/train", "index2label": {0: "red", 1: "green"}}
    assert len(MaiteDataset(data, "train")) == 1
    with pytest.raises(InputError, match="split: expected one of train, val, test, got 'testing'"):
        MaiteDataset(data, "testing")
