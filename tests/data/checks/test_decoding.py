"""Pictures are decoded once before training, all of them, and what is known of them is not asked again."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.checks import decoding
from hydra_det.data.checks.decoding import Memory, check_decoding, decode_all
from hydra_det.data.images import load_rgb
from hydra_det.data.samples import ImageRecord
from hydra_det.types import InputError
from tests.data.conftest import Files


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Names of the files that are decoded."""
    names: list[str] = []
    plain = decoding.look

    def look(path: Path, **options: Any) -> Any:
        names.append(path.name)
        return plain(path, **options)

    monkeypatch.setattr(decoding, "look", look)
    return names


def cut(file: Path) -> None:
    """The header stays."""
    file.write_bytes(file.read_bytes()[:-800])


def records_of(files: Files) -> list[ImageRecord]:
    return files.data().splits["train"].records


def test_each_picture_is_decoded_once(files: Files, tmp_path, asked):
    records = records_of(files)
    assert check_decoding(records, tmp_path / "known") == []
    assert sorted(asked) == sorted(record.path.name for record in records)
    asked.clear()
    assert check_decoding(records[:4], tmp_path / "known") == []
    assert asked == []
    os.utime(records[2].path, ns=(1, 1))
    check_decoding(records, tmp_path / "known")
    assert asked == [records[2].path.name], "it may be another picture now"


def test_a_picture_that_is_cut_off_ends_it_before_the_first_epoch(files: Files, tmp_path, asked):
    for name in ("3", "7", "22"):
        cut(files.root / "images" / f"{name}.png")
    data = files.data(decoded=str(tmp_path / "known"))
    with pytest.raises(InputError, match=r"3\.png: expected an image file.*\(and 2 other pictures; doctor\.py lists"):
        data.prepare()
    assert len(asked) == 15, "one bad picture hides no other"
    asked.clear()
    with pytest.raises(InputError, match=r"3\.png"):
        files.data(decoded=str(tmp_path / "known")).prepare()
    assert sorted(asked) == ["22.png", "3.png", "7.png"], "what is broken is not remembered"
    files.data(decoded=None).prepare()  # nobody asked


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"a": 3}', b"[" * 5000, json.dumps({"k": [[["turned"], "a"]]}).encode()]
)
def test_a_memory_that_is_damaged_is_forgotten(content, files: Files, tmp_path):
    records = records_of(files)
    check_decoding(records, tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(content)
    assert Memory(tmp_path, records).of(records[0]) is None
    check_decoding(records, tmp_path)
    assert Memory(tmp_path, records).of(records[0]) == []


def test_a_folder_that_cannot_be_written_costs_time_only(files: Files, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.INFO):
        assert check_decoding(records_of(files), tmp_path / "file" / "below") == []
    assert "pictures are decoded again next time" in caplog.text


def test_headers_alone_do_not_show_what_was_cut_off(files: Files):
    records = records_of(files)
    cut(records[0].path)
    assert [one.findings for one in decode_all(records, headers=True)] == [[]] * len(records)
    assert [bool(one.refused) for one in decode_all(records)] == [True] + [False] * (len(records) - 1)


def test_a_png_whose_end_is_zeros_is_not_taken_for_whole(files: Files):
    """As a crash of the machine leaves it. Its pixels may well decode; only its sums tell."""
    pixels = np.random.default_rng(0).integers(0, 3, size=(32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(files.root / "images" / "2.png")
    content = (files.root / "images" / "2.png").read_bytes()
    (files.root / "images" / "2.png").write_bytes(content[:300] + bytes(len(content) - 300))
    assert load_rgb(files.root / "images" / "2.png").shape == (32, 48, 3), "it decodes"
    found = {one.record.path.name: bool(one.refused) for one in decode_all(records_of(files))}
    assert found == {f"{number}.png": number == 2 for number in range(1, 11)}
