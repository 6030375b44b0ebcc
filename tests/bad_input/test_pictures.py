"""Images and videos that are wrong, a row each; and odd ones that are read."""

import io
import struct
import wave
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bad_input.table import Row, as_parameters, assert_refused
from tests.fuzzing.readers import READERS, complaint


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """A PNG of zeros that says that it is so large."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * 8000)
    return buffer.getvalue()


def broken_exif(content: bytes) -> bytes:
    """A JPEG whose EXIF block is bytes without sense."""
    plain = encoded(Image.open(io.BytesIO(content)), "JPEG")
    block = b"Exif\0\0MM\0*\xff\xff\xff\xff\xff\xff"
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 32\n%%EndComments\nshowpage\n%%EOF\n"
FLOATS = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
LONG = Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32))
COLOUR = Image.new("RGB", (48, 32), (200, 30, 30))
OTHER = Image.new("RGB", (48, 32), (30, 200, 30))

IMAGES = {
    "empty": Row("png", b"", "expected an image file"),
    "zeros": Row("png", b"\0" * 4096, "expected an image file"),
    "text": Row("jpg", b"not an image", "expected an image file"),
    "a page": Row("jpg", b"<html><body>404</body></html>", "expected an image file"),
    "a drawing": Row("png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected an image file"),
    "a program for a printer": Row("png", EPS, "cannot identify image file"),
    "an archive": Row("png", b"PK\x03\x04" + b"\0" * 100, "expected an image file"),
    "a header alone": Row("jpg", b"\xff\xd8\xff\xe0", "expected an image file"),
    "jpg cut off": Row("jpg", lambda content: content[:700], "expected an image file"),
    "png cut off": Row("png", lambda content: content[:2000], "expected an image file"),
    "tif cut off": Row("tif", lambda content: content[:2000], "expected an image file"),
    "webp cut off": Row("webp", lambda content: content[:300], "expected an image file"),
    "bmp cut off": Row("bmp", lambda content: content[:300], "expected an image file"),
    "too large for any memory": Row("png", png(60_000, 60_000), "could be decompression bomb"),
    "no pixels": Row("png", png(0, 0), "expected an image file"),
    "larger than it is": Row("png", png(3000, 3000), "expected an image file"),
    "floats": Row("tif", encoded(FLOATS, "TIFF"), "got floating point; convert it"),
    "32 bits": Row("tif", encoded(LONG, "TIFF"), "expected values of 16 bits, got 70000"),
}

VIDEOS = {
    "empty": Row("video", b"", "the file has 0 bytes"),
    "zeros": Row("video", b"\0" * 4096, "expected a video"),
    "text": Row("video", b"not a video", "expected a video"),
    "cut off": Row("video", lambda content: content[: len(content) // 2], "expected a video"),
    "an image": Row("video", encoded(COLOUR, "PNG"), "expected a video"),
    "sound": Row("video", sound(), "expected a video"),
    "a playlist": Row(
        "video", b"#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.mp4\n#EXT-X-ENDLIST\n", "expected a video"
    ),
    "a list of other videos": Row("video", b"ffconcat version 1.0\nfile other.mp4\n", "expected a video"),
}

ODD: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "one pixel": ("png", lambda _: encoded(Image.new("RGB", (1, 1)), "PNG")),
    "a strip": ("png", lambda _: encoded(Image.new("L", (5000, 1)), "PNG")),
    "animated png": ("png", lambda _: encoded(COLOUR, "PNG", save_all=True, append_images=[OTHER])),
    "animated webp": ("webp", lambda _: encoded(COLOUR, "WEBP", save_all=True, append_images=[OTHER], lossless=True)),
    "pages": ("tif", lambda _: encoded(COLOUR, "TIFF", save_all=True, append_images=[OTHER])),
    "another type than its suffix": ("jpg", lambda _: encoded(COLOUR, "PNG")),
    "broken exif": ("jpg", broken_exif),
    "a palette with transparency": ("png", lambda _: encoded(COLOUR.convert("P"), "PNG", transparency=0)),
    "more behind its end": ("png", lambda content: content + b"\0" * 100),
}


@pytest.mark.parametrize("row", as_parameters(IMAGES))
def test_images_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(VIDEOS))
def test_videos_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


def test_a_list_of_videos_does_not_open_another_file(tmp_path):
    """FFmpeg would: the list is an instruction to read other files, and this one is there and whole."""
    READERS["video"].prepare(tmp_path)
    (tmp_path / "clip.mp4").rename(tmp_path / "other.mp4")
    (tmp_path / "clip.mp4").write_bytes(b"ffconcat version 1.0\nfile other.mp4\n")
    said = complaint("video", tmp_path)
    assert said is not None
    assert "cannot be opened" in said


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_read(name, tmp_path):
    kind, change = ODD[name]
    READERS[kind].prepare(tmp_path)
    file = tmp_path / READERS[kind].file
    file.write_bytes(change(file.read_bytes()))
    assert complaint(kind, tmp_path) is None
