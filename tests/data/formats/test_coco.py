"""Reading COCO files: what is kept, what is repaired, and the line for everything that is refused."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.formats.coco import read_coco
from hydra_det.data.samples import Split
from hydra_det.types import InputError
from tests.data.conftest import Content, Files


def read(files: Files, **options: Any) -> Split:
    return read_coco(files.root, "train.json", "images", name="train", **options)


def annotation(image_id: int, **values: Any) -> Content:
    return {"id": 900, "image_id": image_id, "category_id": 7, "bbox": [0, 0, 9, 9], "area": 70, "iscrowd": 0, **values}


def test_gapped_category_ids_become_labels_in_order(files: Files) -> None:
    split = read(files)
    assert split.class_names == ["dog", "bird", "cat"]
    assert split.category_ids == [3, 7, 90]
    assert [int(record.labels[0]) for record in split.records[:4]] == [2, 0, 1, 2]
    assert [entry["category_id"] for entry in split.ground_truth["annotations"][:4]] == [90, 3, 7, 90]
    np.testing.assert_array_equal(split.records[0].boxes, [[4, 5, 24, 15]])


def test_crowds_are_scored_but_not_learnt(files: Files) -> None:
    files.train["annotations"].append(annotation(1, iscrowd=1, area=33.25))
    split = read(files.write())
    assert len(split.records[0].boxes) == 1
    assert split.ground_truth["annotations"][-1] == annotation(1, iscrowd=1, area=33.25)


def test_images_without_boxes_and_the_files_areas_are_kept(files: Files) -> None:
    files.train["annotations"] = files.train["annotations"][1:]
    split = read(files.write())
    assert split.records[0].boxes.shape == (0, 4)
    assert len(split.ground_truth["images"]) == 10
    assert {entry["area"] for entry in split.ground_truth["annotations"]} == {150.5}


def test_annotation_ids_evaluation_cannot_use_are_replaced(files: Files) -> None:
    files.train["annotations"][3]["id"] = 0
    ids = [entry["id"] for entry in read(files.write()).ground_truth["annotations"]]
    assert ids == list(range(1, 11))


def test_bad_boxes_are_repaired_counted_and_reported_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    files.train["annotations"] += [
        annotation(1, bbox=[40, 20, 20, 20], id=901),  # reaches over the corner of the 48 x 32 image
        annotation(2, bbox=[60, 5, 9, 9], id=902),
        annotation(2, bbox=[5, 5, 0, 9], id=903),
        annotation(2, bbox=[5, 5, 9, -3], id=904),
        annotation(3, bbox=[-0.4, 5, 9, 9], id=905),  # rounding
    ]
    with caplog.at_level(logging.WARNING):
        split = read(files.write())
    assert [problem.partition(":")[0] for _, problem in split.problems] == ["clipped", *["dropped"] * 3]
    np.testing.assert_array_equal(split.records[0].boxes[1], [40, 20, 48, 32])
    np.testing.assert_allclose(split.records[2].boxes[1], [0, 5, 8.6, 14])
    assert [entry["id"] for entry in split.ground_truth["annotations"][10:]] == [901, 905]
    assert split.ground_truth["annotations"][10]["bbox"] == [40, 20, 8, 12]
    assert len(caplog.records) == 1
    assert re.search(r"1 reach .* 3 have .* annotation 901 of 1\.png \(48x32\)", caplog.text)
    with pytest.raises(InputError, match=r"annotation 901 .*correct them"):
        read(files, strict=True)


def set_value(*keys: Any, to: Any) -> Callable[[Content], None]:
    """A fault: the value at a path of keys becomes another."""

    def spoil(content: Content) -> None:
        item: Any = content
        for key in keys[:-1]:
            item = item[key]
        item[keys[-1]] = to

    return spoil


def delete(*keys: Any) -> Callable[[Content], None]:
    """A fault: a key is missing."""

    def spoil(content: Content) -> None:
        item: Any = content
        for key in keys[:-1]:
            item = item[key]
        del item[keys[-1]]

    return spoil


FAULTS: dict[str, tuple[Callable[[Content], None], str]] = {
    "no images key": (delete("images"), r"'images', the key is missing"),
    "annotations no list": (set_value("annotations", to={}), r"'annotations', got an object"),
    "no categories": (set_value("categories", to=[]), r"at least one category"),
    "no images": (set_value("images", to=[]), r"at least one image"),
    "entry no object": (set_value("images", 2, to=5), r"images\[2\]: expected a JSON object, got a number"),
    "image without width": (delete("images", 1, "width"), r"images\[1\]: expected the key 'width'"),
    "image width zero": (set_value("images", 1, "width", to=0), r"images\[1\]: .*at least 1 for 'width', got 0"),
    "image id a text": (set_value("images", 1, "id", to="7"), r"images\[1\]: .*integer .* got '7'"),
    "image name empty": (set_value("images", 1, "file_name", to=""), r"images\[1\]: .*'file_name'"),
    "image id twice": (set_value("images", 1, "id", to=1), r"distinct image ids, 1 stands for 1\.png and 2\.png"),
    "category id twice": (set_value("categories", 1, "id", to=90), r"categories\[1\]: .*90 'dog'"),
    "category name twice": (set_value("categories", 1, "name", to="cat"), r"categories\[1\]: .*3 'cat'"),
    "category name missing": (delete("categories", 1, "name"), r"categories\[1\]: expected the key 'name'"),
    "unknown image": (set_value("annotations", 4, "image_id", to=77), r"\[4\] \(id 105\): .*got 77"),
    "unknown category": (set_value("annotations", 4, "category_id", to=8), r"\(id 105\): .*\(3, 7, 90\), got 8"),
    "bbox missing": (delete("annotations", 4, "bbox"), r"\(id 105\): expected the key 'bbox'"),
    "bbox short": (set_value("annotations", 4, "bbox", to=[1, 2, 3]), r"\(id 105\): expected 4 numbers"),
    "bbox nan": (set_value("annotations", 4, "bbox", to=[1, 2, float("nan"), 3]), r"\(id 105\): .*finite"),
    "bbox infinite": (set_value("annotations", 4, "bbox", to=[1, 2, float("inf"), 3]), r"\(id 105\): .*finite"),
    "bbox huge": (set_value("annotations", 4, "bbox", to=[1, 2, 10**400, 3]), r"\(id 105\): .*finite"),
    "bbox of texts": (set_value("annotations", 4, "bbox", to=["1", 2, 3, 3]), r"\(id 105\): .*finite"),
    "area null": (set_value("annotations", 4, "area", to=None), r"\(id 105\): .*'area'"),
    "iscrowd 2": (set_value("annotations", 4, "iscrowd", to=2), r"\(id 105\): .*'iscrowd', got 2"),
    "file missing": (set_value("images", 3, "file_name", to="gone.png"), r"10 image files, 1 are missing.*gone\.png"),
    "file outside": (set_value("images", 3, "file_name", to="../../x.png"), r"file of image 4 .*leaves it"),
    "file absolute": (set_value("images", 3, "file_name", to="/etc/passwd"), r"file of image 4 .*leaves it"),
    "size differs": (set_value("images", 3, "width", to=47), r"4\.png: expected 47x32 pixels.* holds 48x32"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_in_one_clear_line(files: Files, fault: str) -> None:
    spoil, expected = FAULTS[fault]
    spoil(files.train)
    with pytest.raises(InputError, match=expected) as error:
        read(files.write())
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "the line says what to do"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"images": [,', r"JSON, .* at line 1 column 13"),
        (b"\xff\xfe\x00", r"expected JSON text"),
        (b"[1, 2]", r"expected a JSON object, got a list"),
    ],
)
def test_files_that_are_no_json_objects(files: Files, text: bytes, expected: str) -> None:
    (files.root / "train.json").write_bytes(text)
    with pytest.raises(InputError, match=expected):
        read(files)


def test_missing_files_and_paths_that_leave_the_root(files: Files) -> None:
    with pytest.raises(InputError, match=r"none\.json: expected an annotation file, there is none"):
        read_coco(files.root, "none.json", "images", name="train")
    with pytest.raises(InputError, match=r"annotation file inside .* leaves it"):
        read_coco(files.root, "../train.json", "images", name="train")
    with pytest.raises(InputError, match=r"image folder inside .* leaves it"):
        read_coco(files.root, "train.json", str(Path("/")), name="train")


def test_a_file_that_is_no_image(files: Files) -> None:
    (files.root / "images" / "3.png").write_text("hello")
    with pytest.raises(InputError, match=r"3\.png: expected an image file, could not read it"):
        read(files)


def test_pycocotools_reads_the_ground_truth(files: Files, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    split = read(files)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(split.restricted([2, 3]).ground_truth))
    coco = COCO(str(path))
    assert coco.getImgIds() == [2, 3]
    assert coco.getCatIds() == [3, 7, 90]
    assert [found["bbox"] for found in coco.loadAnns(coco.getAnnIds(imgIds=[2]))] == [[4, 5, 20, 10]]


def test_images_keep_their_file_order_and_size(files: Files) -> None:
    split = read(files)
    assert split.image_ids == list(range(1, 11))
    record = split.records[4]
    with Image.open(record.path) as image:
        assert image.size == (record.width, record.height)
    assert record.byte_size == len(record.path.read_bytes())


def test_a_missing_folder_is_told_from_a_missing_image_under_a_relative_root(files, monkeypatch):
    files.write()
    monkeypatch.chdir(files.root.parent)
    root = Path(files.root.name)
    with pytest.raises(InputError, match=rf"there is no folder {root}/picures$"):
        read_coco(root, "train.json", "picures", name="train")
    (files.root / "images" / "4.png").unlink()
    with pytest.raises(InputError, match=r"1 are missing.*4\.png; check the annotations$"):
        read_coco(root, "train.json", "images", name="train")
