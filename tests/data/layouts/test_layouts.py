"""Every layout that is read by its root alone gives the objects that were exported, and nothing besides."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.datamodule import DetectionData
from hydra_det.data.sources import CocoData, VocData, YoloData
from hydra_det.types import InputError
from tests.data.layouts import exports
from tests.data.layouts.exports import CLASSES, EXPORTS, OBJECTS, SPLIT, picture, text, voc_xml, yolo_txt

KINDS: dict[str, Any] = {"coco": CocoData, "voc": VocData, "yolo": YoloData}
OPTIONS: dict[str, Any] = {"name": "tiny", "image_size": 64, "batch_size": 1, "val_images": None}
READ_AS_MEANT = {"polygon", "group"}  # kinds of findings of an export that is in order


def load(name: str, root: Path, **options: Any) -> DetectionData:
    kind, _, tested = EXPORTS[name]
    split = {} if tested else {"split": 0.2}
    data: DetectionData = KINDS[kind](root=root, **OPTIONS, **split, **options)
    return data


def objects_of(data: DetectionData) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {
        record.path.stem: [
            (data.class_names[label], tuple(box))
            for label, box in zip(record.labels, record.boxes.round(3).tolist(), strict=True)
        ]
        for split in data.splits.values()
        for record in split.records
    }


@pytest.mark.parametrize("name", EXPORTS)
def test_a_layout_is_read_by_its_root_alone(name, tmp_path):
    root = tmp_path / "raccoons"
    EXPORTS[name][1](root)
    data = load(name, root)
    assert data.class_names == CLASSES
    found = objects_of(data)
    assert found.keys() == OBJECTS.keys()
    for stem, things in OBJECTS.items():
        assert [kind for kind, _ in found[stem]] == [kind for kind, _ in things]
        np.testing.assert_allclose([box for _, box in found[stem]], [box for _, box in things], atol=1e-3)
    kinds = {finding.kind for split in data.splits.values() for finding in split.findings}
    assert kinds <= READ_AS_MEANT
    assert ("polygon" in kinds) == ("polygons" in name)
    assert data.dataset("train")[(0, 0)][0].shape == (3, 64, 64)


@pytest.mark.parametrize("name", [name for name, (_, _, tested) in EXPORTS.items() if tested])
def test_splits_are_those_of_the_export(name, tmp_path):
    EXPORTS[name][1](tmp_path)
    data = load(name, tmp_path)
    stems = {split: sorted(record.path.stem for record in data.splits[split].records) for split in data.splits}
    if "Roboflow" in name:
        assert stems == {"train": sorted(SPLIT["train"]), "val": SPLIT["valid"], "test": SPLIT["test"]}
    else:
        assert sorted(stems["train"] + stems["val"]) == sorted(SPLIT["train"])
        assert stems["test"] == sorted(SPLIT["valid"] + SPLIT["test"]), "the second split is the one to test on"


@pytest.mark.parametrize("name", [name for name, (_, _, tested) in EXPORTS.items() if not tested])
def test_a_set_without_splits_is_split_on_request_only(name, tmp_path):
    EXPORTS[name][1](tmp_path)
    with pytest.raises(InputError, match=r"data\.test_\w+: expected test images, .*data\.split=0\.2"):
        KINDS[EXPORTS[name][0]](root=tmp_path, **OPTIONS).prepare()
    ids = load(name, tmp_path).chosen_ids()
    assert {split: len(of_split) for split, of_split in ids.items()} == {"train": 4, "val": 1, "test": 1}


@pytest.mark.parametrize("name", EXPORTS)
def test_what_macos_and_windows_leave_is_passed_over(name, tmp_path):
    root = tmp_path / "raccoons"
    EXPORTS[name][1](root)
    expected = load(name, root).fingerprints
    for file in [path for path in root.rglob("*") if path.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\26\7")
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    data = load(name, root)
    assert data.fingerprints == expected
    assert {finding.kind for split in data.splits.values() for finding in split.findings} <= READ_AS_MEANT


def test_a_data_yaml_may_lead_out_of_the_set(tmp_path):
    """Where its images are is the user's own word; an absolute list does as well."""
    images, root = tmp_path / "drive", tmp_path / "set"
    exports.ultralytics(images)
    every = sorted((images / "images").rglob("*.jpg"))
    text(root / "all.txt", "".join(f"{path}\n" for path in every))
    text(root / "data.yaml", f"train: {images}/images/train\nval: ../drive/images/val\nnames: {CLASSES}\n")
    assert objects_of(YoloData(root=root, **OPTIONS)) == objects_of(YoloData(root=images, **OPTIONS))
    text(root / "data.yaml", f"train: all.txt\nnames: {CLASSES}\n")
    assert objects_of(YoloData(root=root, split=0.2, **OPTIONS)).keys() == OBJECTS.keys()


def test_a_folder_of_test_images_that_is_not_there_is_passed_over_aloud(tmp_path, caplog):
    """Roboflow writes its name into the yaml whether it exports one or not."""
    exports.roboflow_yolo(tmp_path)
    shutil.rmtree(tmp_path / "test")
    data = YoloData(root=tmp_path, **OPTIONS)
    assert [record.path.stem for record in data.splits["test"].records] == SPLIT["valid"]
    assert "test: there is no ../test/images; the images of val are tested on" in caplog.text


def test_a_whole_path_to_what_lies_inside_is_no_other_place(tmp_path, monkeypatch):
    exports.label_studio_coco(tmp_path / "set", name=f"{tmp_path}/set/images/{{}}.jpg")
    monkeypatch.chdir(tmp_path)
    assert objects_of(CocoData(root="set", split=0.2, **OPTIONS)).keys() == OBJECTS.keys()


@pytest.mark.parametrize("folder", ["/somewhere", "../.."])
def test_annotations_may_not_lead_out_of_the_set(folder, tmp_path):
    root = tmp_path / "a" / "b" / "set"
    exports.cvat_coco(root)
    file = root / "annotations" / "instances_default.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = f"{folder}/img 0.jpg"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="got a path that leaves it"):
        CocoData(root=root, split=0.2, **OPTIONS).prepare()


def test_a_list_of_folders_is_one_split(tmp_path):
    exports.roboflow_yolo(tmp_path)
    text(tmp_path / "data.yaml", f"train: [train/images, valid/images]\nval: test/images\nnames: {CLASSES}\n")
    data = YoloData(root=tmp_path, **OPTIONS)
    assert len(data.splits["train"].records) == 5
    assert {record.file_name for record in data.splits["train"].records} >= {"train/images/img 0.jpg"}
    assert objects_of(data).keys() == OBJECTS.keys()


# Key that is given, what is given -> what the refusal says besides what is there.
MISSING = {
    "train_images_dir": ("yolo", "images/training", r"a folder of images below .*, got images/training; there are "
                         r"images/train, images/val$"),
    "train_labels_dir": ("yolo", "lables", r"a folder of labels below .*, got lables; there are .*labels/train"),
    "images_dir": ("voc", "JPEGImage", r"a folder of images below .*, got JPEGImage; there is JPEGImages$"),
    "annotations_dir": ("voc", "Annotation", r"a folder of annotations below .*, got Annotation; there is Anno"),
    "train_list": ("voc", "train.txt", r"a text file that lists images, there is none at .*; there are ImageSets/M"),
    "test_images_dir": ("coco", "val", r"a folder of images below .*, got val; there are train2017, val2017$"),
}  # fmt: skip


@pytest.mark.parametrize("key", MISSING)
def test_a_misspelt_folder_is_named_with_those_that_are_there(key, tmp_path):
    kind, value, said = MISSING[key]
    {"yolo": exports.ultralytics, "voc": exports.voc, "coco": exports.coco_2017}[kind](tmp_path)
    with pytest.raises(InputError, match=rf"^data\.{key}: expected {said}"):
        KINDS[kind](root=tmp_path, **{key: value}, **OPTIONS).prepare()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("coco", r"^data\.train_annotations: expected COCO files below .*; no \.json file is there; name"),
        ("voc", r"^data\.annotations_dir: expected \.xml files below .*; no \.xml file is there; name"),
        ("yolo", r"^data\.train_images_dir: expected images below .*; there are odd; name"),
    ],
)
def test_a_root_in_no_layout_is_refused_with_what_is_there(kind, said, tmp_path):
    text(tmp_path / "data.yaml", "names: [a]\n")
    picture(tmp_path / "odd" / "a.jpg", "a")
    with pytest.raises(InputError, match=said):
        KINDS[kind](root=tmp_path, **OPTIONS).prepare()


@pytest.mark.parametrize(
    ("kind", "there", "said"),
    [
        ("yolo", ["train/_annotations.coco.json"], "there is train/_annotations.coco.json: is it data=coco?"),
        ("yolo", ["photos/a.xml"], "there is photos/a.xml: is it data=voc?"),
        ("coco", ["data.yaml", "labels/train/a.txt"], "there is data.yaml: is it data=yolo?"),
        ("coco", ["Annotations/a.xml"], "there is Annotations/a.xml: is it data=voc?"),
        ("voc", ["obj.names", "obj_train_data/a.txt"], "there is obj.names: is it data=yolo?"),
        ("voc", ["notes.json", "result.json"], "there is result.json: is it data=coco?"),
        ("voc", ["notes.json"], "name data.annotations_dir and data.images_dir"),
    ],
    ids=str,
)
def test_files_of_another_format_are_asked_about(kind, there, said, tmp_path):
    for name in there:
        text(tmp_path / name, "")
    with pytest.raises(InputError) as refused:
        KINDS[kind](root=tmp_path, **OPTIONS).prepare()
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: images/trein\n", r"data\.yaml: train: expected a folder.*, got images/trein; there are images/train"),
        ("train: images/train\nval: [3]\n", r"data\.yaml: val: expected the path of a folder or list .*, got int"),
        ("train: /nowhere/images\n", r"train: expected a folder, .*, got /nowhere/images; there are images/train"),
        ("train: labels/train\n", r"train: expected images in .*labels/train, found none"),
        ("train: odd\n", r"train: expected a folder of labels at .*odd"),
        ("train: images/train\npath: 3\n", r"train: expected a folder under 'path', got int"),
    ],
)  # fmt: skip
def test_a_data_yaml_that_names_nothing_is_refused_by_its_key(yaml, said, tmp_path):
    exports.ultralytics(tmp_path, yaml=yaml)
    picture(tmp_path / "odd" / "images" / "a.jpg", "a")
    if "odd" in yaml:
        text(tmp_path / "data.yaml", f"train: odd/images\nnames: {CLASSES}\n")
    with pytest.raises(InputError, match=said):
        YoloData(root=tmp_path, **OPTIONS).prepare()


def test_files_that_are_named_take_the_place_of_what_is_found(tmp_path):
    exports.roboflow_yolo(tmp_path)
    for stem in SPLIT["valid"]:
        picture(tmp_path / "mine" / "images" / f"{stem}.jpg", "another")
        text(tmp_path / "mine" / "labels" / f"{stem}.txt", yolo_txt(stem))
    data = YoloData(root=tmp_path, test_images_dir="mine/images", **OPTIONS)
    assert [record.path.parent.parent.name for record in data.splits["test"].records] == ["mine"]
    assert len(data.splits["train"].records) == 4


# What is written under filename, which images are there -> the one that is taken, and whether that is a finding.
FILENAMES = [
    ("a.jpg", ["a.jpg"], "a.jpg", False),
    ("a", ["a.jpg"], "a.jpg", False),
    ("a.png", ["a.JPG"], "a.JPG", False),
    ("C:\\my photos\\a.jpg", ["a.jpg"], "a.jpg", False),
    ("..\\photos\\sub\\a.jpg", ["sub/a.jpg"], "sub/a.jpg", False),
    ("old name.jpg", ["a.jpg"], "a.jpg", True),
    ("photo1.jpg", ["photo1.jpg"], "photo1.jpg", True),
    ("photo1", ["photo1.png"], "photo1.png", True),
]


@pytest.mark.parametrize(("written", "there", "taken", "found"), FILENAMES)
def test_the_picture_of_an_xml_file(written, there, taken, found, tmp_path):
    text(tmp_path / "Annotations" / "a.xml", voc_xml("img 0", filename=written))
    text(tmp_path / "list.txt", "a\n")
    for name in there:
        picture(tmp_path / "JPEGImages" / name, name)
    data = VocData(root=tmp_path, train_list="list.txt", test_list="list.txt", allow_overlap=True, **OPTIONS)
    (record,) = data.splits["train"].records
    assert (record.file_name, record.path) == (taken, tmp_path / "JPEGImages" / taken)
    assert [finding.kind for finding in data.splits["train"].findings] == ["renamed"] * found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("b.jpg", r"a\.xml: expected a\.jpg under 'filename', got b\.jpg, and both images are there"),
        ("b", r"a\.xml: expected a\.jpg under 'filename', got b, and both images are there"),
        ("c", r"a\.xml: expected one image of the name c, got c\.jpg and c\.png"),
    ],
)
def test_a_picture_that_may_be_either_is_refused(written, said, tmp_path):
    text(tmp_path / "Annotations" / "a.xml", voc_xml("img 0", filename=written))
    for name in ("a.jpg", "b.jpg", "c.jpg", "c.png"):
        picture(tmp_path / "JPEGImages" / name, name)
    text(tmp_path / "list.txt", "a\n")
    with pytest.raises(InputError, match=said):
        VocData(root=tmp_path, train_list="list.txt", test_list="list.txt", **OPTIONS).prepare()


def test_pictures_without_an_xml_file_are_counted(tmp_path):
    exports.labelimg_voc(tmp_path)
    picture(tmp_path / "later.jpg", "later")
    data = VocData(root=tmp_path, split=0.2, **OPTIONS)
    texts = [(finding.kind, Path(finding.text).name) for finding in data.splits["train"].findings]
    assert texts == [("unlisted", "later.jpg")]


def test_a_turned_picture_among_others_is_shown_upright(tmp_path):
    """A phone's picture: the export of a tool that showed it upright."""
    exports.labelimg_yolo(tmp_path)
    upright = np.asarray(Image.open(tmp_path / "img5.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(upright[::-1, ::-1]).save(tmp_path / "img5.png", exif=exif)
    (tmp_path / "img5.jpg").unlink()
    data = YoloData(root=tmp_path, split=0.2, **OPTIONS)
    (place,) = [
        (name, number) for name, split in data.splits.items() for number, record in enumerate(split.records)
        if record.path.name == "img5.png"
    ]  # fmt: skip
    np.testing.assert_array_equal(data.dataset(place[0]).pixels(place[1]), upright)
