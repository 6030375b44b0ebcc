"""A picture is turned alike wherever it is shown: in training, by the doctor and by detect.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.checks.decoding import decode_all
from hydra_det.data.doctor import contact_sheet
from hydra_det.data.images import as_pixels, load_rgb
from hydra_det.data.media.frames import Frames
from hydra_det.data.sources import CocoData, YoloData
from hydra_det.types import Pixels
from tests.data.conftest import Files

# What a camera stores, so that the picture is seen as it is when the orientation is applied (EXIF 2.3, tag 0x0112).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}


def photograph(path: Path, seen: Pixels, orientation: int, **options: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(STORED[orientation](seen))).save(path, exif=exif, **options)


def seen_picture(size: tuple[int, int]) -> Pixels:
    """Noise, and a red square at 2, 4 of side 8."""
    pixels = np.random.default_rng(0).integers(0, 100, size=(size[1], size[0], 3), dtype=np.uint8)
    pixels[4:12, 2:10] = (255, 0, 0)
    return pixels


@pytest.mark.parametrize("size", [(48, 32), (32, 32)])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_all_eight_orientations_are_shown_alike(suffix, orientation, size, tmp_path):
    seen = seen_picture(size)
    file = tmp_path / "images" / "train" / f"a{suffix}"
    photograph(file, seen, orientation, **({"lossless": True} if suffix == ".webp" else {}))
    (tmp_path / "labels" / "train").mkdir(parents=True)
    shares = 6 / size[0], 8 / size[1], 8 / size[0], 8 / size[1]
    (tmp_path / "labels" / "train" / "a.txt").write_text(f"0 {' '.join(map(str, shares))}\n")
    (tmp_path / "data.yaml").write_text("names: [red]")
    train = {"train_images_dir": "images/train", "train_labels_dir": "labels/train"}
    test = {key.replace("train_", "test_", 1): value for key, value in train.items()}
    data = YoloData(root=tmp_path, name="t", image_size=64, batch_size=1, allow_overlap=True, **train, **test)
    (record,) = data.splits["train"].records
    assert (record.width, record.height) == size
    np.testing.assert_allclose(record.boxes, [[2, 4, 10, 12]])
    np.testing.assert_array_equal(data.dataset("train").pixels(0), seen)
    (frame,) = Frames(file)
    np.testing.assert_array_equal(frame.pixels, seen)
    np.testing.assert_array_equal(as_pixels(file), seen)
    sheet = np.asarray(contact_sheet([record], ["red"], side=size[0]))[: size[1], : size[0]]
    np.testing.assert_array_equal(sheet[22:32, 20:32], seen[22:32, 20:32])
    (decoded,) = decode_all([record])
    assert [finding.kind for finding in decoded.findings] == (["turned"] if orientation > 1 else [])


@pytest.mark.parametrize("orientation", STORED)
def test_boxes_drawn_on_the_stored_pixels_keep_them(orientation, files: Files):
    """COCO says for which of the two its boxes are, where they differ in size."""
    seen = seen_picture((48, 32))
    file = files.root / "images" / "1.png"
    photograph(file, seen, orientation)
    stored = STORED[orientation](seen)
    files.train["images"][0] |= {"width": stored.shape[1], "height": stored.shape[0]}
    files.train["annotations"][0]["bbox"] = [1, 1, 9, 9]
    data: CocoData = files.write().data()
    record = next(record for record in data.splits["train"].records if record.image_id == 1)
    quarter = orientation >= 5
    np.testing.assert_array_equal(load_rgb(file, size=(record.width, record.height)), stored if quarter else seen)
    (decoded,) = decode_all([record], headers=True)
    expected = [] if orientation == 1 else ["sideways" if quarter else "turned"]
    assert [finding.kind for finding in decoded.findings] == expected
