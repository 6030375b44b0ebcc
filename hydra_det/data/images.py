"""Reading image files: whatever a file holds becomes 8-bit RGB of the annotated size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# What a file may really be, whatever its suffix says. Pillow knows more, among them EPS, for which it starts a program.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
_ORIENTATION = 0x0112  # EXIF tag
_MOVED = range(2, 9)  # orientations that move pixels; 1 moves none
_TURNED = {5, 6, 7, 8}  # of them those that swap width and height
_FOREIGN = "._"  # how macOS begins the names of files that hold something about another file
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}  # Pillow opens some 16-bit files as 32-bit "I"


def load_rgb(path: Path, *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode an image file. [H, W, 3] uint8 RGB

    Greyscale is repeated, palettes are looked up, alpha is dropped, 16-bit greyscale keeps its high byte. A camera's
    EXIF orientation is applied, with one exception: the stored pixels stay where `size` fits them alone, since the
    boxes were then drawn on them. Where both readings fit (squares, half turns, mirror images), the picture is turned
    as everything that shows pictures turns it.

    Args:
        path: the file.
        size: annotated (width, height) in pixels.
    """
    with _opened(path) as opened:
        turn = size is None or _must_turn(_orientation(opened), opened, path=path, size=size)
        return _to_rgb(_upright(opened) if turn else opened, path=path)


def as_pixels(picture: str | Path | Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as it is meant to be seen: a file, an image of Pillow, or an array [H, W, 3]. [H, W, 3] uint8 RGB

    Raises:
        InputError: a file that cannot be read, or an array that is no RGB picture of 8 bits.
    """
    if isinstance(picture, str | Path):
        return load_rgb(Path(picture))
    if isinstance(picture, Image.Image):
        path = Path(getattr(picture, "filename", "") or "picture")
        try:
            return _to_rgb(ImageOps.exif_transpose(picture), path=path)
        except OSError as error:
            raise InputError(f"{path}: expected an image, could not decode it ({error:.200})") from error
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(
            f"picture: expected a path, an image of Pillow, or an array [height, width, 3] of uint8 RGB, got "
            f"{array.dtype} {list(array.shape)}"
        )
    return np.require(array, requirements=["C", "W"])  # as torch wants it: in order, and writable


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, by name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, there is none; check data.root")
    found = image_files(folder)
    if not found:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), found none")
    return found


def image_files(folder: Path) -> list[Path]:
    """The same, none where there is none."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not is_foreign(path))


def is_foreign(path: Path) -> bool:
    """Whether macOS left it there: it has the suffix of a file beside it, and is none of its kind."""
    return path.name.startswith(_FOREIGN)


class Turn(NamedTuple):
    """What became of the EXIF orientation of a picture.

    Attributes:
        kind: `turned`: the picture is shown as it says; `sideways`: it was annotated as it is stored.
        text: the orientation and the size.
    """

    kind: str
    text: str


def look(path: Path, *, size: tuple[int, int], headers: bool = False) -> Turn | None:
    """Decode an image file, or read its header only, and say how it is turned; None: it is not.

    Args:
        path: the file.
        size: annotated (width, height) in pixels.
        headers: read the header only.
    """
    with _opened(path) as opened:
        tag, stored = _orientation(opened, headers=headers), opened.size
        turn = _must_turn(tag, opened, path=path, size=size)
        if not headers:
            _to_rgb(opened, path=path)
    if not headers and opened.format == "PNG":
        _check_sums(path)
    if tag not in _MOVED:
        return None
    text = f"orientation {tag} of {stored[0]}x{stored[1]}, annotated as {size[0]}x{size[1]}"
    return Turn("turned" if turn else "sideways", text)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as it is meant to be seen, from its header."""
    with _opened(path) as opened:
        return _shown_size(_orientation(opened), opened)


def check_size(path: Path, *, size: tuple[int, int]) -> None:
    """Read the header only and refuse a file that cannot be shown at the annotated (width, height)."""
    with _opened(path) as opened:
        if opened.size != size:  # as nearly all are; the EXIF block of a PNG may lie behind its pixels
            _must_turn(_orientation(opened), opened, path=path, size=size)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, open; whatever Pillow says of it while it is used is an error of the file, or of the machine."""
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            yield opened
    except InputError:
        raise
    except Exception as error:  # of a broken file it raises nearly every kind, SyntaxError and struct.error among them
        if is_of_machine(error):
            if isinstance(error, OSError):
                error.filename = error.filename or str(path)  # reading from an open file does not say which one it is
            raise
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path}: expected an image file, could not read it ({reason:.200}); replace or remove it"
        ) from error


def _check_sums(path: Path) -> None:
    """Refuse a PNG whose content is not what was written; zeros of a crash may well decode, as other pixels."""
    with _opened(path) as opened:
        opened.verify()


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a TIFF is, once it is decoded."""
    if image.format == "TIFF":
        image.load()
        return image
    return ImageOps.exif_transpose(image)


def _orientation(image: Image.Image, *, headers: bool = False) -> object:
    """The EXIF orientation; of a PNG in its header alone, since looking behind that decodes it."""
    return None if headers and image.format == "PNG" and "exif" not in image.info else image.getexif().get(_ORIENTATION)


def _shown_size(tag: object, image: Image.Image) -> tuple[int, int]:
    """(width, height) as it is meant to be seen. Pillow turns a TIFF by itself, and gives its size so."""
    return image.size[::-1] if tag in _TURNED and image.format != "TIFF" else image.size


def _must_turn(tag: object, image: Image.Image, *, path: Path, size: tuple[int, int]) -> bool:
    if tag in _MOVED and _shown_size(tag, image) == size:
        return True
    if image.size == size:
        return False
    raise InputError(
        f"{path}: expected {size[0]}x{size[1]} pixels as annotated, the file holds {image.width}x{image.height}; "
        "was it resized after it was annotated?"
    )


def _to_rgb(image: Image.Image, *, path: Path) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise InputError(f"{path}: expected 8 or 16 bits a channel, got floating point; convert it to PNG or JPEG")
    if image.mode not in _SIXTEEN_BIT:
        return np.array(image.convert("RGB"))
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{path}: expected values of 16 bits, got {values.min()} to {values.max()}; convert it")
    # Pillow's own convert("RGB") would cut everything above 255 to white.
    return np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
