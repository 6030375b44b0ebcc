"""Pascal VOC, YOLO and KITTI: the same objects in each format become the same samples, and bad files one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.datamodule import DetectionData
from hydra_det.data.doctor import examine
from hydra_det.data.sources import CocoData, KittiData, VocData, YoloData
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.types import InputError

SIZE = (48, 32)
CLASSES = ["bird", "cat", "dog"]
# Stem -> class and left, top, right, bottom; the third image is empty.
OBJECTS: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {
    "a": [("cat", (4, 5, 24, 15)), ("dog", (30, 2, 46, 30))],
    "b": [("bird", (0, 0, 48, 32))],
    "c": [],
    "d": [("dog", (10, 10, 20, 20))],
}
TRAIN, TEST = ["a", "b", "c"], ["d"]
OPTIONS: dict[str, Any] = {"name": "tiny", "image_size": 64, "batch_size": 1}


def picture(path: Path, seed: int, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def lists(root: Path) -> None:
    (root / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (root / "test.txt").write_text("\n".join(TEST) + "\n\n")


def voc_xml(stem: str, *, shift: int = 0, extra: str = "") -> str:
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1 + shift}</xmin><ymin>{y1 + shift}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox>{extra}</object>"
        for name, (x1, y1, x2, y2) in OBJECTS[stem]
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
    return f"<annotation><filename>{stem}.png</filename>{size}{things}</annotation>"


def voc(root: Path, **options: Any) -> VocData:
    for seed, stem in enumerate(OBJECTS):
        picture(root / "JPEGImages" / f"{stem}.png", seed)
        file = root / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(voc_xml(stem))
    lists(root)
    return VocData(root=root, train_list="train.txt", test_list="test.txt", **{**OPTIONS, **options})


def yolo(root: Path, **options: Any) -> YoloData:
    for seed, (stem, things) in enumerate(OBJECTS.items()):
        split = "train" if stem in TRAIN else "val"
        picture(root / "images" / split / f"{stem}.png", seed)
        lines = [
            f"{CLASSES.index(name)} {(x1 + x2) / 2 / SIZE[0]} {(y1 + y2) / 2 / SIZE[1]} {(x2 - x1) / SIZE[0]} "
            f"{(y2 - y1) / SIZE[1]}"
            for name, (x1, y1, x2, y2) in things
        ]
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        if lines:
            (root / "labels" / split / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("names: {0: bird, 1: cat, 2: dog}\n")
    return YoloData(root=root, **{**OPTIONS, **options})


def kitti(root: Path, **options: Any) -> KittiData:
    for seed, (stem, things) in enumerate(OBJECTS.items()):
        picture(root / "image_2" / f"{stem}.png", seed)
        lines = [f"{name} 0.0 0 -0.2 {x1} {y1} {x2} {y2} 1 1 1 0 0 9 0" for name, (x1, y1, x2, y2) in things]
        (root / "label_2").mkdir(exist_ok=True)
        (root / "label_2" / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    lists(root)
    return KittiData(
        root=root, train_list="train.txt", test_list="test.txt", **{**OPTIONS, "classes": CLASSES, **options}
    )


FORMATS: dict[str, Callable[..., DetectionData]] = {"voc": voc, "yolo": yolo, "kitti": kitti}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_objects(name, tmp_path):
    data = FORMATS[name](tmp_path)
    assert data.class_names == CLASSES
    found = {
        Path(record.file_name).stem: [
            (data.class_names[label], tuple(box))
            for label, box in zip(record.labels, record.boxes.round(6).tolist(), strict=True)
        ]
        for split in ("train", "test")
        for record in data.splits[split].records
    }
    assert found == OBJECTS
    assert [Path(record.file_name).stem for record in data.splits["train"].records] == TRAIN
    image, target = data.dataset("train")[(0, 0)]
    assert image.shape == (3, 64, 64)
    assert target["boxes"].tolist()[0] == pytest.approx(
        [4 * 64 / 48, 5 * 64 / 48 + 10.5, 32, 15 * 64 / 48 + 10.5], abs=1
    )


def test_one_based_corners_and_difficult_objects(tmp_path):
    data = voc(tmp_path, one_based=True, classes=CLASSES)
    for stem in OBJECTS:
        extra = "<difficult>1</difficult>" if stem == "a" else "<difficult>0</difficult>"
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(voc_xml(stem, shift=1, extra=extra))
    first, second, _ = data.splits["train"].records
    assert second.boxes.tolist() == [[0, 0, 48, 32]]
    assert len(first.boxes) == 0, "difficult objects are not learnt"
    crowds = [entry["iscrowd"] for entry in data.ground_truth("train")["annotations"]]
    assert crowds == [1, 1, 0], "nor do they count as missed"
    kept = VocData(
        root=tmp_path, train_list="train.txt", test_list="test.txt", one_based=True, difficult="keep", **OPTIONS
    )
    assert [len(record.boxes) for record in kept.splits["train"].records] == [2, 1, 0]


def test_regions_that_nobody_cares_for(tmp_path):
    data = kitti(tmp_path, classes=["dog", "cat"])
    file = tmp_path / "label_2" / "a.txt"
    file.write_text(
        file.read_text()
        + "DontCare -1 -1 -10 1 1 9 9 -1 -1 -1 -1000 -1000 -1000 -10\nCar 0 0 0 1 1 9 9 1 1 1 0 0 9 0\n"
    )
    (tmp_path / "label_2" / "b.txt").write_text("")
    assert data.class_names == ["dog", "cat"]
    annotations = [entry for entry in data.ground_truth("train")["annotations"] if entry["image_id"] == 1]
    assert [(entry["category_id"], entry["iscrowd"]) for entry in annotations] == [(2, 0), (1, 0), (1, 1), (2, 1)]
    assert examine(data.splits["train"]).crowds == 1, "one region, in which neither class counts"


def test_an_image_that_the_camera_turned_has_the_size_that_one_sees(tmp_path):
    data = yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "train" / "e.jpg", 9, exif=exif)
    (tmp_path / "labels" / "train" / "e.txt").write_text("2 0.5 0.5 1 1\n")
    record = next(record for record in data.splits["train"].records if record.file_name == "e.jpg")
    assert (record.width, record.height) == SIZE[::-1]
    assert record.boxes.tolist() == [[0, 0, 32, 48]]
    assert data.dataset("train")[(0, 3)][0].shape == (3, 64, 64)


def write(relative: str, text: str | bytes) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / relative).write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


XML = "Annotations/a.xml"
SPOILED: list[tuple[str, Callable[[Path], None], str]] = [
    ("voc", write(XML, voc_xml("a")[:-30]), r"a\.xml: expected xml, .* at line 1 column \d+; was it cut off"),
    ("voc", write(XML, voc_xml("a").replace("width", "wide")), r"a\.xml: expected a text under 'size/width'"),
    ("voc", write(XML, voc_xml("a").replace(">48<", ">0<")), r"a\.xml: expected a whole number of pixels"),
    ("voc", write(XML, voc_xml("a").replace(">24<", ">x<")), r"object\[0\]: expected a number under 'bndbox/xmax'"),
    ("voc", write(XML, voc_xml("a").replace("<name>cat</name>", "")), r"expected a text under 'name', got none"),
    ("voc", write(XML, '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'), "defines xml entities"),
    ("voc", write("train.txt", ""), r"train\.txt: expected a list of distinct images, got 0"),
    ("voc", write("train.txt", "a\nz\n"), r"z\.xml: expected an xml file, could not read it"),
    ("yolo", write("labels/train/a.txt", "1 0.5 0.5 0.1\n"), r"a\.txt: line 1: expected 5 numbers .*, got 4"),
    ("yolo", write("labels/train/a.txt", "1 .5 .5 .1 .1\n\n1 .5 .5 .1 .1 .9\n"), r"line 3: expected 5 .*, got 6"),
    ("yolo", write("labels/train/a.txt", "1 0.5 1.5 0.1 0.1\n"), r"line 1: expected shares of the image in \[0, 1\]"),
    ("yolo", write("labels/train/a.txt", "3 0.5 0.5 0.1 0.1\n"), r"expected a class number from 0 to 2, got 3"),
    ("yolo", write("labels/train/a.txt", "1 a 0.5 0.1 0.1\n"), r"line 1: expected numbers, got '1 a"),
    ("yolo", write("labels/train/a.txt", "1 nan 0.5 0.1 0.1\n"), r"line 1: expected finite numbers"),
    ("yolo", write("labels/train/a.txt", b"\xff\xfe\x00"), r"a\.txt: expected text, got other bytes"),
    ("yolo", write("data.yaml", "names: [a, a]"), r"data\.yaml: expected distinct class names"),
    ("yolo", write("data.yaml", "nc: 3"), r"data\.yaml: expected class names under 'names', found none"),
    ("yolo", write("data.yaml", "names: {0: a, 2: b}"), r"expected class names as a list or as 0"),
    ("yolo", write("images/train/a.png", b"no image"), r"a\.png: expected an image file, could not read it"),
    ("kitti", write("label_2/a.txt", "Car 0 0 0 1 1 9 9\n"), r"a\.txt: line 1: expected 14 numbers .*, got 7"),
    ("kitti", write("label_2/a.txt", "Cow 0 0 0 1 1 9 9 1 1 1 0 0 9 0\n"), r"expected one of Car, .*, got 'Cow'"),
    ("kitti", lambda root: (root / "label_2" / "a.txt").unlink(), r"a\.txt: expected a file of labels, could not"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), SPOILED)
def test_what_is_wrong_is_one_line_with_the_file(name, spoil, said, tmp_path):
    data = FORMATS[name](tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=said) as refused:
        data.prepare()
    assert "\n" not in str(refused.value)


REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.skipif(not (REAL / "voc2012_100").is_dir(), reason="needs the example images")
def test_one_hundred_real_images_in_three_formats(tmp_path):
    root = REAL / "voc2012_100"
    stems = sorted(path.stem for path in (root / "Annotations").iterdir())
    (tmp_path / "VOC").symlink_to(root)
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("\n".join(stems))
    common: dict[str, Any] = {**OPTIONS, "allow_overlap": True}
    coco = "VOC/annotations_coco/instances_default.json"
    pictures = dict.fromkeys(("train_images_dir", "test_images_dir"), "VOC/JPEGImages")
    by_format: dict[str, DetectionData] = {
        "coco": CocoData(root=tmp_path, train_annotations=coco, test_annotations=coco, **pictures, **common),
        "voc": VocData(
            root=tmp_path, train_list="train.txt", test_list="test.txt", annotations_dir="VOC/Annotations",
            images_dir="VOC/JPEGImages", difficult="keep", **common,
        ),
        "yolo": YoloData(
            root=tmp_path, names="VOC/labels_yolo/obj.names", train_labels_dir="VOC/labels_yolo",
            test_labels_dir="VOC/labels_yolo", **pictures, **common,
        ),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    noise = {stem: rng.normal(0, 3, size=(100, 4)) for stem in stems}
    confidence = {stem: rng.random(100) for stem in stems}
    scores = {}
    for name, data in by_format.items():
        split = data.splits["test"]
        assert len(split.records) == 100
        objects = {
            Path(record.file_name).stem: sorted(
                (data.class_names[label], *box) for label, box in zip(record.labels, record.boxes.tolist(), strict=True)
            )
            for record in split.records
        }
        results: list[Any] = []
        for record in split.records:
            stem = Path(record.file_name).stem
            for number, (label, *box) in enumerate(objects[stem]):
                left, top, right, bottom = np.array(box) + noise[stem][number]
                category = data.category_ids[data.class_names.index(label)]
                bbox = [left, top, right - left, bottom - top]
                score = float(confidence[stem][number])
                results.append({"image_id": record.image_id, "category_id": category, "bbox": bbox, "score": score})
        scores[name] = objects, average_precision(data.ground_truth("test"), results)
    for name in ("voc", "yolo"):
        objects, expected = scores[name][0], scores["coco"][0]
        assert objects.keys() == expected.keys()
        for stem, things in objects.items():
            assert [thing[0] for thing in things] == [thing[0] for thing in expected[stem]]
            np.testing.assert_allclose(
                [thing[1:] for thing in things], [thing[1:] for thing in expected[stem]], atol=1e-3
            )  # YOLO's file has six digits
        assert scores[name][1]["map"] == pytest.approx(scores["coco"][1]["map"], abs=1e-3)
    assert 0.2 < float(scores["coco"][1]["map"] or 0) < 1


@pytest.mark.parametrize("given", ["val_images_dir", "val_labels_dir"])
def test_validation_images_without_labels_are_not_passed_over(given, tmp_path):
    with pytest.raises(InputError, match=r"data\.val_labels_dir: expected both or neither"):
        YoloData(root=tmp_path, **{given: "val"}, **OPTIONS)


@pytest.mark.parametrize("kind", [YoloData, KittiData, VocData])
def test_a_root_that_is_not_there_is_named(kind, tmp_path):
    words = {"names": "data.yaml"} if kind is YoloData else {}
    with pytest.raises(
        InputError, match=r"data\.root: expected the folder of a data set, there is no folder .*nowhere"
    ):
        kind(root=tmp_path / "nowhere", **words, **OPTIONS).prepare()


@pytest.mark.skipif(not (REAL / "bccd").is_dir(), reason="needs the example images")
def test_blood_cells_are_all_there():
    root = REAL / "bccd"
    folder = "ImageSets/Main/"
    data = VocData(
        root=root, train_list=folder + "train.txt", val_list=folder + "val.txt", test_list=folder + "test.txt",
        val_images=None, **OPTIONS,
    )  # fmt: skip
    assert {name: len(split.records) for name, split in data.splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert data.class_names == ["Platelets", "RBC", "WBC"]
    boxes = sum(len(record.boxes) for split in data.splits.values() for record in split.records)
    assert boxes == 4888 - 2, "two have no area"
    problems = [problem for split in data.splits.values() for _, problem in split.problems if "dropped" in problem]
    assert len(problems) == 2
    assert all(any(name in text for text in problems) for name in ("BloodImage_00338", "BloodImage_00343"))


@pytest.mark.skipif(not (REAL / "kitti_3").is_dir(), reason="needs the example images")
def test_frames_of_kitti(tmp_path):
    for folder in ("image_2", "label_2"):
        (tmp_path / folder).symlink_to(REAL / "kitti_3" / folder)
    (tmp_path / "train.txt").write_text("000000\n000001\n")
    (tmp_path / "test.txt").write_text("000002\n")
    data = KittiData(root=tmp_path, train_list="train.txt", test_list="test.txt", **OPTIONS)
    (frame,) = data.splits["test"].records
    assert [data.class_names[label] for label in frame.labels] == ["Misc", "Car"]
    np.testing.assert_allclose(frame.boxes, [[804.79, 167.34, 995.43, 327.94], [657.39, 190.13, 700.07, 223.39]])
    (walker, road) = data.splits["train"].records
    assert [data.class_names[label] for label in walker.labels] == ["Pedestrian"]
    assert sorted(data.class_names[label] for label in road.labels) == ["Car", "Cyclist", "Truck"]
    pixels, target = data.dataset("test")[0]
    assert pixels.shape == (3, 64, 64)
    assert target["letterbox"].width > target["letterbox"].height
