"""The doctor's counts, by hand, and its sheet of pictures, pixel by pixel where it matters."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.checks import decoding
from hydra_det.data.checks.decoding import Decoded, check_decoding
from hydra_det.data.doctor import contact_sheet, examine, look_closely, write_findings, write_sheets
from hydra_det.data.formats.splits import shared_images
from hydra_det.data.media.drawing import class_colour
from hydra_det.data.samples import Split
from hydra_det.data.sources import CocoData
from hydra_det.errors import InputError
from tests.data.conftest import Files


def entry(image_id: int, category_id: int, bbox: list[float], **further: object) -> dict[str, object]:
    return {"id": 900 + image_id, "image_id": image_id, "category_id": category_id, "bbox": bbox, **further}


def test_counts(files: Files) -> None:
    files.train["annotations"] = [
        {**entry(1, 3, [0, 0, 32, 31]), "id": 1},
        {**entry(1, 90, [0, 0, 32, 32]), "id": 2},
        {**entry(2, 3, [5, 5, 100, 5]), "id": 3},  # reaches outside: 43 x 5 are left
        {**entry(2, 3, [5, 5, 0, 5]), "id": 4},
        {**entry(3, 7, [1, 1, 9, 9], iscrowd=1), "id": 5},
    ]
    train = files.write().data(val_images=0).splits["train"]
    assert examine(train.restricted([1, 3])).problems == []
    found = examine(train)
    assert (found.images, found.boxes, found.crowds, found.empty) == (10, 3, 1, 8)
    assert found.sizes == {"small": 2, "medium": 1, "large": 0}
    assert found.classes == {"dog": 2, "bird": 0, "cat": 1}
    assert found.sides == ((48, 48), (32, 32))
    assert found.problems == [
        "clipped: annotation 3 of 2.png (48x32): [5.0, 5.0, 100.0, 5.0]",
        "dropped: annotation 4 of 2.png (48x32): [5.0, 5.0, 0.0, 5.0]",
    ]


def test_a_set_without_test_images_can_be_looked_at(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    asked: CocoData = files.data(test_annotations=None, val_images=None)
    with pytest.raises(InputError, match=r"data\.split=0\.2"):
        asked.prepare()
    asked = files.data(test_annotations=None, val_images=None)
    asked.keep_going = True
    assert {name: len(split.records) for name, split in asked.splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert "no test images: looked at as with data.split=0.2, which training needs then" in caplog.text


def test_every_shared_image_is_named(files: Files) -> None:
    for test, train in (("21", "1"), ("23", "4")):
        shutil.copy(files.root / "images" / f"{train}.png", files.root / "images" / f"{test}.png")
    shared = list(shared_images(files.data(allow_overlap=True).splits))
    assert [(name, path.name, other, twin.name) for name, path, other, twin in shared] == [
        ("train", "1.png", "test", "21.png"),
        ("train", "4.png", "test", "23.png"),
    ]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 1), (5, 2)])
def test_boxes_lie_where_the_objects_are(tmp_path: Path, files: Files, count: int, rows: int) -> None:
    data: CocoData = files.data(val_images=0)
    for record in data.splits["train"].records:
        Image.new("RGB", (record.width, record.height)).save(record.path)
    records = data.splits["train"].records[:count]
    sheet = np.asarray(contact_sheet(records, data.class_names, side=96))
    assert sheet.shape == (96 * rows, 96 * 4, 3)
    row, column = divmod(count - 1, 4)
    tile = sheet[row * 96 : row * 96 + 64, column * 96 : (column + 1) * 96]
    label = int(records[-1].labels[0])
    outline = (tile == class_colour(label)).all(axis=2)
    # The box 4, 5, 24, 15 at twice the size.
    assert outline[10:31, 8].all()
    assert outline[30, 8:49].all()
    assert not outline[:10].any()
    assert not outline[:, :8].any()
    assert not outline[31:].any()
    assert (sheet[64 + row * 96 : 96 + row * 96] == 128).all(), "what the picture does not fill"


def looked_at(files: Files, memory: Path | None, *, headers: bool = False) -> tuple[Split, list[int]]:
    """The training images after a close look, and the totals that were announced."""
    totals: list[int] = []

    def watch(items: Iterable[Decoded], *, total: int) -> Iterable[Decoded]:
        totals.append(total)
        return items

    train = files.data(val_images=0).splits["train"]
    return look_closely(train, headers=headers, memory=memory, watch=watch), totals


def test_pictures_that_cannot_be_decoded_are_listed_all_and_left_out(files: Files, tmp_path: Path) -> None:
    for name in ("3", "8"):
        file = files.root / "images" / f"{name}.png"
        file.write_bytes(file.read_bytes()[:-900])
    shutil.copy(files.root / "images" / "2.png", files.root / "images" / "5.png")
    split, totals = looked_at(files, tmp_path / "known")
    assert totals == [10]
    assert split.image_ids == [1, 2, 4, 5, 6, 7, 9, 10]
    found = examine(split)
    assert (found.images, found.refused) == (8, 2)
    assert [problem.partition(":")[0] for problem in found.problems] == ["refused", "refused", "twin"]
    assert found.kinds == ["2 items that training refuses", "1 images are there twice, as equal files"]
    write_findings(tmp_path / "findings.txt", {"train": split})
    lines = (tmp_path / "findings.txt").read_text().splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["refused", "refused", "twin"]
    assert all(name in "".join(lines) for name in ("3.png", "8.png", "2.png and", "5.png"))


def test_what_the_doctor_decoded_training_need_not(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at(files, tmp_path)
    monkeypatch.setattr(decoding, "look", None)  # whoever decodes a picture now fails
    records = files.data(val_images=0).splits["train"].records
    assert check_decoding(records, tmp_path) == []


def test_headers_only_remember_nothing(files: Files, tmp_path: Path) -> None:
    split, totals = looked_at(files, tmp_path / "known", headers=True)
    assert (totals, len(split.records)) == ([10], 10)
    assert not (tmp_path / "known").exists()


def test_what_was_read_as_it_was_meant_is_no_problem(files: Files) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(files.root / "images" / "4.png") as image:
        image.save(files.root / "images" / "4.png", exif=exif)
    split, _ = looked_at(files, None)
    found = examine(split)
    assert found.problems == []
    assert found.kinds == ["1 images are turned by their EXIF orientation, as detect.py turns them"]
    assert [kind for kind, _, _ in split.findings] == ["turned"]


def test_a_sheet_of_each_split_with_images(files: Files, tmp_path: Path) -> None:
    splits = files.data(val_images=0).splits
    write_sheets(tmp_path, splits, pictures=4)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["test.png", "train.png"]
    with Image.open(tmp_path / "train.png") as sheet:
        assert sheet.size == (4 * 320, 320)


def test_equal_pictures_that_training_keeps_together_are_in_one_split(files: Files) -> None:
    for other in (4, 9):
        shutil.copy(files.root / "images" / "2.png", files.root / "images" / f"{other}.png")
    shutil.copy(files.root / "images" / "1.png", files.root / "images" / "23.png")
    data = files.data(val_images=3)
    data.keep_going = True
    (pair,) = list(shared_images(data.splits))
    assert {pair[0], pair[2]} >= {"test"}
    assert pair[3].name == "23.png"
