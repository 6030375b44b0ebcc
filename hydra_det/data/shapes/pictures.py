"""The built-in data set: pictures drawn once, kept on disk in COCO form, read like any other COCO set."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hydra_det.data.formats.coco import read_coco
from hydra_det.data.samples import Split
from hydra_det.data.shapes.scene import CATEGORIES, Scene, draw_scene
from hydra_det.types import InputError

# Raise it whenever the same parameters would give other pictures: old folders are then left alone and new ones drawn.
GENERATOR = 2

PARTIAL = ".partial-"  # how the name of a folder begins while pictures are drawn into it

_RUN_LENGTHS = 3  # zlib's Z_RLE: on noise smaller than a search for repeats, and faster

log = logging.getLogger(__name__)


class ShapesParameters(NamedTuple):
    """What the pictures depend on. A smaller set of the same seed and canvas is the beginning of a larger one."""

    canvas: int = 160  # side of the pictures, pixels
    train_size: int = 1200  # pictures
    test_size: int = 200
    seed: int = 0

    @property
    def folder(self) -> str:
        """Name of the folder for these pictures."""
        text = json.dumps({"generator": GENERATOR, **self._asdict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_shapes(root: Path, parameters: ShapesParameters) -> dict[str, Split]:
    """The splits `train` and `test`; draws the pictures if they are not in `root` yet."""
    folder = draw_shapes(root, parameters)
    return {name: read_coco(folder, f"{name}.json", f"images/{name}", name=name) for name in ("train", "test")}


def draw_shapes(root: Path, parameters: ShapesParameters) -> Path:
    """Make sure that the pictures are on disk, and say in which folder under `root`.

    They are drawn into a temporary folder that gets its name when it is complete: a half-written set is never read, and
    of two processes that draw at once the second to finish throws its copy away.
    """
    _check(parameters)
    folder = root / parameters.folder
    if folder.is_dir():
        return folder
    log.info("drawing %d pictures into %s", parameters.train_size + parameters.test_size, folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _drawing(root), tempfile.TemporaryDirectory(dir=root, prefix=PARTIAL) as temporary:
            # A folder inside: the temporary one itself may be entered by nobody else, and keeps that when renamed.
            partial = Path(temporary) / "set"
            partial.mkdir()
            _write_set(partial, parameters)
            _rename(partial, folder)
    except OSError as error:
        raise InputError(
            f"{root}: expected a folder to write the shapes into ({error.strerror}); set data.root"
        ) from error
    return folder


@contextlib.contextmanager
def _drawing(root: Path) -> Iterator[None]:
    """While pictures are drawn into a folder in `root`; what killed processes left there is removed first.

    Who draws shares a lock on `root`, which a process gives back however it ends. So who gets it alone knows that the
    unfinished folders there are nobody's. Where a drive has no such locks, they stay.
    """
    handle = os.open(root, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in root.glob(f"{PARTIAL}*"):
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _check(parameters: ShapesParameters) -> None:
    for name, least in (("canvas", 64), ("train_size", 1), ("test_size", 1), ("seed", 0)):
        if (value := getattr(parameters, name)) < least:
            raise InputError(f"shapes: expected {name} of at least {least}, got {value}; change data.{name}")


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        # Another process was faster; its set is the same.
        if not folder.is_dir():
            raise


def _write_set(folder: Path, parameters: ShapesParameters) -> None:
    (folder / "parameters.json").write_text(json.dumps({"generator": GENERATOR, **parameters._asdict()}, indent=1))
    for number, (name, size) in enumerate({"train": parameters.train_size, "test": parameters.test_size}.items()):
        images = folder / "images" / name
        images.mkdir(parents=True)
        scenes = []
        for index in range(size):
            scene = draw_scene(np.random.default_rng([parameters.seed, number, index]), parameters.canvas)
            file = images / f"{index + 1:06d}.png"
            Image.fromarray(scene.pixels).save(file, compress_level=1, compress_type=_RUN_LENGTHS)
            scenes.append(scene)
        # Ids of the two splits do not collide.
        content = _coco(scenes, first_id=1 + number * 1_000_000)
        (folder / f"{name}.json").write_text(json.dumps(content))


def _coco(scenes: list[Scene], *, first_id: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        height, width, _ = scene.pixels.shape
        image_id = first_id + index
        images.append({"id": image_id, "file_name": f"{index + 1:06d}.png", "width": width, "height": height})
        for shape in scene.shapes:
            left, top, right, bottom = shape.box
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": shape.category_id,
                "bbox": [left, top, right - left, bottom - top],
                "area": round(shape.area, 2),
                "iscrowd": 0,
            }
            annotations.append(annotation)
    categories = [{"id": category_id, "name": name} for category_id, name in CATEGORIES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
