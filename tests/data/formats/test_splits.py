"""Images that are held out: how many, which, and that equal pictures stay together."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hydra_det.data.sources import CocoData
from hydra_det.types import InputError
from tests.data.conftest import Files


def whole(files: Files, **options: Any) -> CocoData:
    """The training images alone, as a set that has no others."""
    arguments: dict[str, Any] = {"name": "tiny", "image_size": 64, "batch_size": 1, "val_images": None, **options}
    return CocoData(root=files.root, train_annotations="train.json", **arguments)


def test_a_share_for_validation_and_one_for_testing(files: Files):
    ids = whole(files, split=0.2).chosen_ids()
    assert {name: len(of_split) for name, of_split in ids.items()} == {"train": 6, "val": 2, "test": 2}
    assert sorted(itertools.chain(*ids.values())) == list(range(1, 11))
    assert whole(files, split=0.2, seed=7).chosen_ids() == ids, "they are no matter of the training seed"
    assert whole(files, split=0.2, subset_seed=1).chosen_ids() != ids


def test_a_share_takes_the_place_only_of_what_is_missing(files: Files):
    ids = files.data(split=0.3, val_images=None).chosen_ids()
    assert (len(ids["train"]), len(ids["val"]), ids["test"]) == (7, 3, [21, 22, 23, 24, 25])
    assert len(whole(files, split=0.2, val_images=1).chosen_ids()["val"]) == 1, "a number that is given counts"


@pytest.mark.parametrize("seed", range(6))
def test_equal_pictures_stay_together(files: Files, seed):
    """Whatever their names: one of them in training would be a leak, and was a refusal."""
    for other in (4, 9):
        shutil.copy(files.root / "images" / "2.png", files.root / "images" / f"{other}.png")
    ids = whole(files, split=0.3, subset_seed=seed).chosen_ids()
    assert sum(bool({2, 4, 9} & set(of_split)) for of_split in ids.values()) == 1
    assert sorted(itertools.chain(*ids.values())) == list(range(1, 11))
    files.data(val_images=3, subset_seed=seed).prepare()


def test_neither_test_images_nor_a_share_of_them_is_one_line(files: Files):
    with pytest.raises(
        InputError, match=r"data\.test_annotations: expected test images, the set has none.*data\.split="
    ):
        whole(files).prepare()
    with pytest.raises(InputError, match=r"data\.split: expected a value from 0\.01 to 0\.45, got 0\.5"):
        whole(files, split=0.5)


def test_images_beside_the_usual_folder_are_found(files: Files):
    """As COCO lays them out, where only the annotation file is named."""
    (files.root / "images").rename(files.root / "elsewhere")
    (files.root / "images").mkdir()
    (files.root / "elsewhere").rename(files.root / "images" / "train2017")
    assert len(whole(files, split=0.2).splits["train"].records) == 6
    content: dict[str, Any] = json.loads((files.root / "train.json").read_text())
    assert Path(content["images"][0]["file_name"]).parent == Path()
