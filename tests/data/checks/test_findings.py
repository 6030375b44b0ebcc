"""What is not taken as it stands in the files is counted by kind, in training and by the doctor alike."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_det.data.checks.findings import KINDS
from hydra_det.data.datamodule import DetectionData
from hydra_det.data.sources import CocoData, KittiData, VocData, YoloData
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.types import InputError
from tests.data.layouts import exports
from tests.data.layouts.exports import OBJECTS, picture, text, voc_xml, yolo_txt

OPTIONS: dict[str, Any] = {"name": "tiny", "image_size": 64, "batch_size": 1}


def coco(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A fault of a COCO file."""

    def spoil(root: Path) -> None:
        file = root / "annotations" / "instances_default.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def twice(content: dict[str, Any]) -> None:
    content["annotations"] += [dict(entry, id=100 + k) for k, entry in enumerate(content["annotations"])]


def two_ids(content: dict[str, Any]) -> None:
    """Of the first picture, each with all of its objects."""
    content["images"].append(dict(content["images"][0], id=77, file_name="./" + content["images"][0]["file_name"]))
    content["annotations"] += [
        dict(entry, id=200 + k, image_id=77) for k, entry in enumerate(content["annotations"]) if entry["image_id"] == 0
    ]


def areas(content: dict[str, Any]) -> None:
    content["annotations"][0]["area"] *= 16
    content["annotations"][1]["area"] = 0
    content["annotations"][2]["area"] *= 0.01


def named(root: Path, suffix: str) -> list[Path]:
    return sorted(path for path in root.rglob(f"*{suffix}") if path.name not in ("train.txt", "val.txt", "classes.txt"))


def prefixed(root: Path) -> None:
    for file in named(root / "labels", ".txt")[:2]:
        file.rename(file.with_name(f"3f9a1c2b-{file.name}"))


def another_suffix(root: Path) -> None:
    picture(root / "images" / "img5.png", "img5 as it was before")


def doubled_lines(root: Path) -> None:
    for file in named(root / "labels", ".txt"):
        file.write_text(file.read_text() * 2)


def rounded(root: Path) -> None:
    text(root / "labels" / "img 1.txt", "0 0.5 0.500281 0.608 1.0074\n")
    text(root / "labels" / "img_4.txt", "0 1.0001 0.5 0.2 0.2\n0 -0.0001 0.5 0.2 0.2\n")


def one_without(root: Path) -> None:
    (root / "labels" / "img 1.txt").unlink()


def two_xml(root: Path) -> None:
    text(root / "other.xml", voc_xml("img_4", filename="img5.jpg"))


def voc_twice(root: Path) -> None:
    text(root / "img5.xml", voc_xml("img5").replace("</annotation>", voc_xml("img5").partition("</size>")[2]))


# Fault -> export, what is done to it, and how often which kind is found; further findings are listed as well.
FAULTS: dict[str, tuple[str, Callable[[Path], None], dict[str, int]]] = {
    "coco: every object twice": ("coco: CVAT", coco(twice), {"doubled": 9}),
    "coco: one file under two ids": ("coco: CVAT", coco(two_ids), {"merged": 1, "doubled": 2}),
    "coco: areas of other boxes": ("coco: CVAT", coco(areas), {"area": 3}),
    "yolo: labels with a prefix": ("yolo: Label Studio", prefixed, {"orphan": 2, "unlabelled": 2}),
    "yolo: one label file for two images": ("yolo: Label Studio", another_suffix, {"shared": 1}),
    "yolo: every line twice": ("yolo: Label Studio", doubled_lines, {"doubled": 9}),
    "yolo: shares above 1": ("yolo: Label Studio", rounded, {"rounded": 3, "clipped": 2}),
    "yolo: a label file is missing": ("yolo: Label Studio", one_without, {"unlabelled": 1}),
    "voc: two files for one picture": ("voc: labelImg", two_xml, {"renamed": 1, "merged": 1}),
    "voc: every object twice": ("voc: labelImg", voc_twice, {"doubled": 2}),
}
KIND: dict[str, Any] = {"coco": CocoData, "voc": VocData, "yolo": YoloData}


def load(fault: str, root: Path, **options: Any) -> DetectionData:
    export, spoil, _ = FAULTS[fault]
    kind, make, _ = exports.EXPORTS[export]
    make(root)
    spoil(root)
    data: DetectionData = KIND[kind](root=root, split=0.2, **OPTIONS, **options)
    return data


def found(data: DetectionData) -> dict[str, int]:
    kinds = [finding.kind for split in data.splits.values() for finding in split.findings]
    return {kind: kinds.count(kind) for kind in kinds}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_be_lost_in_silence_is_counted(fault, tmp_path, caplog):
    expected = FAULTS[fault][2]
    with caplog.at_level(logging.WARNING):
        assert found(load(fault, tmp_path)) == expected
    said = [record.getMessage() for record in caplog.records]
    for kind, count in expected.items():
        words = "reach outside" if kind == "clipped" else KINDS[kind].words
        assert sum(f"{count} {words}" in line for line in said) == 1, f"{kind} is one line of the log"
    assert len(said) == len(expected)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_doctor_finds_the_same(fault, tmp_path, caplog):
    data = load(fault, tmp_path)
    data.keep_going = True
    assert found(data) == FAULTS[fault][2]
    assert not caplog.records, "it lists them itself"


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_refuses_what_is_wrong(fault, tmp_path):
    data = load(fault, tmp_path, strict=True)
    if any(KINDS[kind].strict for kind in FAULTS[fault][2]):
        with pytest.raises(InputError, match=r"the first is .*; correct them, or set data\.strict=false"):
            data.prepare()
    else:
        data.prepare()


@pytest.mark.parametrize(
    "fault", ["coco: every object twice", "yolo: every line twice", "coco: one file under two ids"]
)
def test_objects_that_are_listed_twice_can_all_be_found(fault, tmp_path):
    """Of two equal boxes one detection finds one: AP of perfect detections was half."""
    data = load(fault, tmp_path)
    records = data.splits["train"].records
    results: list[Any] = [
        {"image_id": record.image_id, "category_id": data.category_ids[label],
         "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "score": 0.9}
        for record in records for label, box in zip(record.labels, record.boxes.tolist(), strict=True)
    ]  # fmt: skip
    assert average_precision(data.ground_truth("train"), results)["map"] == pytest.approx(1.0)
    stems = [record.path.stem for split in data.splits.values() for record in split.records]
    assert sorted(stems) == sorted(OBJECTS), "each picture is there once"
    assert sum(len(record.boxes) for split in data.splits.values() for record in split.records) == 9


def test_rounded_boxes_end_at_the_edge(tmp_path):
    data = load("yolo: shares above 1", tmp_path)
    boxes = {record.path.stem: record.boxes for split in data.splits.values() for record in split.records}
    np.testing.assert_allclose(boxes["img 1"], [[(0.5 - 0.304) * 48, 0, (0.5 + 0.304) * 48, 32]], atol=1e-6)
    assert boxes["img_4"][:, 2].max() == 48
    assert boxes["img_4"][:, 0].min() == 0


@pytest.mark.parametrize("fold", [0.03, 0.04])
def test_shares_further_outside_are_refused(fold, tmp_path):
    """A pixel of 32 is a share of 0.031."""
    exports.label_studio_yolo(tmp_path)
    text(tmp_path / "labels" / "img 1.txt", f"0 0.5 0.5 0.5 {1 + fold}\n")
    data = YoloData(root=tmp_path, split=0.2, **OPTIONS)
    if fold < 1 / 32:
        data.prepare()
    else:
        with pytest.raises(InputError, match=r"img 1\.txt: line 1: expected shares of the image in \[0, 1\]"):
            data.prepare()


def test_a_split_without_one_object(tmp_path, caplog):
    exports.roboflow_yolo(tmp_path)
    for file in (tmp_path / "test" / "labels").iterdir():
        file.write_text("")
    data = YoloData(root=tmp_path, **OPTIONS)
    assert found(data) == {"empty": 1}
    assert "test: 1 images, and not one object" in caplog.text
    for file in (tmp_path / "train" / "labels").iterdir():
        file.rename(tmp_path / file.name)
    with pytest.raises(InputError, match=r"expected objects in the training images, there is none in 4; look"):
        YoloData(root=tmp_path, **OPTIONS).prepare()


def test_an_unused_group_of_the_name_of_a_class_is_left_out_and_a_used_one_is_not(tmp_path):
    exports.roboflow_coco(tmp_path)
    data = CocoData(root=tmp_path, **OPTIONS)
    assert (data.class_names, data.category_ids) == (["fox", "raccoon"], [1, 2])
    assert found(data) == {"group": 3}
    file = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"categories\[2\]: expected distinct category ids and names, 2 'raccoon'"):
        CocoData(root=tmp_path, **OPTIONS).prepare()


def bad_files(root: Path) -> None:
    """Four lines and files that training refuses, each in another way."""
    text(root / "labels" / "img 0.txt", yolo_txt("img 0") + "7 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1 0.9\n")
    (root / "labels" / "img 1.txt").write_bytes(b"\xff\xd8\xff")
    (root / "images" / "img5.jpg").write_bytes(b"no image")


def test_the_doctor_goes_on_after_a_bad_file(tmp_path):
    exports.label_studio_yolo(tmp_path)
    bad_files(tmp_path)
    with pytest.raises(InputError):
        YoloData(root=tmp_path, split=0.2, **OPTIONS).prepare()
    data = YoloData(root=tmp_path, split=0.2, **OPTIONS)
    data.keep_going = True
    texts = [text for split in data.splits.values() for kind, text, _ in split.findings if kind == "refused"]
    assert len(texts) == 4
    for part in (
        "a class number from 0 to 1, got 7",
        "got 6; a sixth is the confidence",
        "got other bytes",
        "img5.jpg",
    ):
        assert sum(part in line for line in texts) == 1, part
    boxes = {record.path.stem: len(record.boxes) for split in data.splits.values() for record in split.records}
    assert boxes == {"img 0": 2, "img 1": 0, "img.2": 1, "img-3": 2, "img_4": 1}


@pytest.mark.parametrize("export", ["coco: CVAT", "voc: labelImg", "voc: CVAT"])
def test_the_doctor_goes_on_in_every_format(export, tmp_path):
    kind, make, _ = exports.EXPORTS[export]
    make(tmp_path)
    for file in tmp_path.rglob("img5.jpg"):
        file.unlink()
    for file in tmp_path.rglob("img_4.xml"):
        file.write_text("<annotation>")
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text().replace('"bbox": [5, 6, 20, 20]', '"bbox": [5, 6, 20]'))
    data = KIND[kind](root=tmp_path, split=0.2, **OPTIONS)
    data.keep_going = True
    assert found(data)["refused"] == 2
    assert sum(len(split.records) for split in data.splits.values()) == (5 if kind == "coco" else 4)


def test_names_with_spaces_in_lists(tmp_path):
    """Of VOC and of KITTI, whose lists may say more behind a name."""
    exports.voc(tmp_path)
    data = VocData(root=tmp_path, train_list="ImageSets/Main/fox_train.txt", **OPTIONS, split=0.3)
    stems = [record.path.stem for split in data.splits.values() for record in split.records]
    assert sorted(stems) == sorted(exports.SPLIT["train"])
    for stem in OBJECTS:
        picture(tmp_path / "image_2" / f"{stem}.png", stem)
        text(
            tmp_path / "label_2" / f"{stem}.txt",
            "Car 0.00 0 1.57 4.00 5.00 24.00 15.00 1.5 1.6 3.9 1.0 1.5 20.0 1.57\n",
        )
    text(tmp_path / "train.txt", "img 0\nimg 1.png\nimg.2 and further words\n")
    text(tmp_path / "val.txt", "img-3  -1\n")
    frames = KittiData(root=tmp_path, **OPTIONS).splits
    assert [record.file_name for record in frames["train"].records] == ["img 0.png", "img 1.png", "img.2.png"]
    assert [record.file_name for record in frames["test"].records] == ["img-3.png"]
