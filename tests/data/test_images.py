"""Every kind of file becomes 8-bit RGB of the annotated size."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.images import check_size, load_rgb
from hydra_det.process.failures import drives
from hydra_det.process.failures.memory_errors import explain
from hydra_det.types import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, size=(6, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, size=(6, 9, 3), dtype=np.uint8)


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


def test_colour_alpha_and_greyscale(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([COLOUR, GREY])).save(tmp_path / "rgba.png")
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([GREY, GREY]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(load_rgb(tmp_path / "rgb.png"), COLOUR)
    np.testing.assert_array_equal(load_rgb(tmp_path / "rgba.png"), COLOUR)
    np.testing.assert_array_equal(load_rgb(tmp_path / "grey.png"), repeated(GREY))
    np.testing.assert_array_equal(load_rgb(tmp_path / "la.png"), repeated(GREY))


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png")
    expected = [[[10, 20, 30], [40, 50, 60]], [[40, 50, 60], [70, 80, 90]]]
    np.testing.assert_array_equal(load_rgb(tmp_path / "p.png"), expected)


def test_cmyk(tmp_path: Path) -> None:
    inks = np.zeros((8, 8, 4), dtype=np.uint8)
    inks[:, :, 1:3] = 255  # magenta and yellow, which is red
    Image.fromarray(inks, "CMYK").save(tmp_path / "c.tiff")
    np.testing.assert_array_equal(load_rgb(tmp_path / "c.tiff"), np.full((8, 8, 3), [255, 0, 0]))


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 256 + 77).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_rgb(tmp_path / "deep.png"), repeated(GREY))


def test_float_pixels_and_broken_files_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(InputError, match="floating point"):
        load_rgb(tmp_path / "f.tiff")
    Image.fromarray(COLOUR).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"cut\.png: expected an image file"):
        load_rgb(tmp_path / "cut.png")


def test_orientation_follows_the_annotated_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter clockwise
    Image.fromarray(COLOUR).save(tmp_path / "turned.png", exif=exif)
    turned = np.rot90(COLOUR, -1)
    np.testing.assert_array_equal(load_rgb(tmp_path / "turned.png", size=(9, 6)), COLOUR)
    np.testing.assert_array_equal(load_rgb(tmp_path / "turned.png", size=(6, 9)), turned)
    np.testing.assert_array_equal(load_rgb(tmp_path / "turned.png"), turned)


def test_other_sizes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    for size in ((6, 9), (9, 7)):
        with pytest.raises(InputError, match=r"x\.png: expected \dx\d pixels as annotated, the file holds 9x6"):
            load_rgb(tmp_path / "x.png", size=size)
        with pytest.raises(InputError, match="holds 9x6"):
            check_size(tmp_path / "x.png", size=size)
    check_size(tmp_path / "x.png", size=(9, 6))


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, os.strerror(errno.EMFILE))], ids=repr)
def test_a_good_image_is_not_blamed_for_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def convert(*_: object) -> None:
        raise error

    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(type(error)) as raised:
        load_rgb(tmp_path / "good.png")
    assert raised.value is error
    monkeypatch.undo()
    refused = drives.refusal(error, {})
    said = refused.line if refused else explain(error)
    assert said is not None
    assert "expected enough memory" in said or said.startswith(f"{tmp_path / 'good.png'}: expected to open one more")
