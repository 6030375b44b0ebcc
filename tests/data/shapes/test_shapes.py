"""The built-in data set: reproducible, labelled exactly, and greyscale takes the colours away."""

import errno
import fcntl
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hydra_det.data.shapes import pictures as shapes
from hydra_det.data.shapes import scene as shapes_scene
from hydra_det.data.shapes.pictures import ShapesParameters, draw_shapes, read_shapes
from hydra_det.data.sources import ShapesData
from hydra_det.types import InputError

SMALL = ShapesParameters(canvas=96, train_size=6, test_size=3, seed=1)
LUMINANCE = np.array([0.299, 0.587, 0.114])


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_bytes_twice_and_a_prefix_of_a_larger_set(tmp_path: Path) -> None:
    first = all_bytes(draw_shapes(tmp_path / "a", SMALL))
    assert first == all_bytes(draw_shapes(tmp_path / "b", SMALL))
    larger = all_bytes(draw_shapes(tmp_path / "a", SMALL._replace(train_size=8)))
    other = all_bytes(draw_shapes(tmp_path / "a", SMALL._replace(seed=2)))
    images = [name for name in first if name.endswith(".png")]
    assert len(images) == 9
    assert len({first[name] for name in images}) == 9
    assert all(larger[name] == first[name] for name in images)
    assert all(other[name] != first[name] for name in images)


def test_drawn_once_and_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, calls = shapes.draw_scene, []

    def failing(rng: np.random.Generator, canvas: int) -> shapes_scene.Scene:
        calls.append(canvas)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(rng, canvas)

    monkeypatch.setattr(shapes, "draw_scene", failing)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []
    folder = draw_shapes(tmp_path, SMALL)
    assert len(calls) == 4 + 9
    assert draw_shapes(tmp_path, SMALL) == folder
    assert len(calls) == 4 + 9
    assert list(tmp_path.iterdir()) == [folder]


def test_a_faster_process_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = shapes._write_set

    def slow(folder: Path, parameters: ShapesParameters) -> None:
        write(folder, parameters)
        monkeypatch.setattr(shapes, "_write_set", write)
        draw_shapes(tmp_path, parameters)  # the other process finishes in between

    monkeypatch.setattr(shapes, "_write_set", slow)
    folder = draw_shapes(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_draws_is_not(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path\n"
    code += "from hydra_det.data.shapes.pictures import ShapesParameters, draw_shapes\n"
    code += "draw_shapes(Path(sys.argv[1]), ShapesParameters(train_size=10**6))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".partial-*/set/images/train/*.png")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        (partial,) = tmp_path.glob(".partial-*")
        first = draw_shapes(tmp_path, SMALL)
        assert sorted(tmp_path.iterdir()) == sorted([partial, first])
    finally:
        process.kill()
        process.wait()
    second = draw_shapes(tmp_path, SMALL._replace(seed=2))
    assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_a_drive_without_locks_is_drawn_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".partial-maybe-alive").mkdir()
    folder = draw_shapes(tmp_path, SMALL)
    assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / ".partial-maybe-alive"])


def test_a_place_that_cannot_be_written_and_bad_sizes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"expected a folder to write the shapes into .* set data\.root"):
        draw_shapes(tmp_path / "file", SMALL)
    with pytest.raises(InputError, match="canvas of at least 64, got 20"):
        draw_shapes(tmp_path, SMALL._replace(canvas=20))


def test_boxes_are_tight_around_what_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    def white(rng: np.random.Generator, colour: str, height: int, width: int) -> np.ndarray:
        return np.ones((height, width, 3), dtype=np.float32)

    monkeypatch.setattr(shapes_scene, "_paint", white)
    monkeypatch.setattr(shapes_scene, "_draw_clutter", lambda picture, rng: np.zeros_like(picture))
    monkeypatch.setattr(shapes_scene, "MOST_OBJECTS", 1)
    seen = 0
    for seed in range(60):
        scene = shapes_scene.draw_scene(np.random.default_rng(seed), 160)
        bright = scene.pixels[:, :, 0]
        if not scene.shapes:
            assert not bright.any()
            continue
        (shape,) = scene.shapes
        rows, columns = np.nonzero(bright)
        painted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # A pixel is painted where the box covers part of it.
        assert painted == [*np.floor(shape.box[:2]), *np.ceil(shape.box[2:])]
        assert shape.area == pytest.approx(bright.sum() / 255, rel=0.01)
        seen += 1
    assert seen > 40


def test_objects_are_visible_of_every_size_and_sometimes_absent() -> None:
    scenes = [shapes_scene.draw_scene(np.random.default_rng([5, i]), 160) for i in range(120)]
    counts = [len(scene.shapes) for scene in scenes]
    assert 0 < counts.count(0) < 30
    assert max(counts) == shapes_scene.MOST_OBJECTS
    boxes = np.array([shape.box for scene in scenes for shape in scene.shapes])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert boxes.max() <= 160
    assert sides.max(axis=1).min() < 36
    assert sides.max() > 75
    assert {shape.category_id for scene in scenes for shape in scene.shapes} == set(shapes_scene.CATEGORIES)
    # The thinnest shape, a tilted cross, fills about 0.4 of its box; 40 % of that stays visible.
    areas = np.array([shape.area for scene in scenes for shape in scene.shapes])
    assert (areas / sides.prod(axis=1)).min() > 0.4 * 0.38


def test_luminance_does_not_tell_the_colours_apart() -> None:
    for luminance, chroma, tint in ((0.3, 0.3, 0.1), (0.62, 0.5, -0.12), (0.45, 0.6, 0.0)):
        red, green = (shapes_scene.object_colour(luminance, chroma, tint, colour) for colour in ("red", "green"))
        np.testing.assert_allclose([LUMINANCE @ red, LUMINANCE @ green], luminance, atol=1e-6)
        assert red[0] - green[0] > 0.3
        assert min(red.min(), green.min()) >= -0.2


def test_painted_surfaces_of_both_colours_are_the_same_grey() -> None:
    for seed in range(200):
        surfaces = [shapes_scene._paint(np.random.default_rng(seed), colour, 12, 15) for colour in shapes_scene.COLOURS]
        greys = [np.round(surface * 255) @ LUMINANCE for surface in surfaces]
        assert np.abs(greys[0] - greys[1]).max() < 1.01, "clipping or rounding gives the colour away"


def test_read_back_with_gapped_ids(tmp_path: Path) -> None:
    splits = read_shapes(tmp_path, SMALL)
    assert splits["train"].category_ids == [1, 2, 4, 7, 8, 11]
    assert splits["train"].class_names[3] == "green ring"
    assert splits["train"].problems == []
    assert not set(splits["train"].image_ids) & set(splits["test"].image_ids)
    with Image.open(splits["test"].records[0].path) as image:
        assert (image.mode, image.size) == ("RGB", (96, 96))


def test_as_a_data_module(tmp_path: Path) -> None:
    data = ShapesData(
        name="shapes", root=tmp_path, canvas=96, train_size=6, test_size=3, image_size=96, batch_size=2, val_images=2
    )
    assert data.num_classes == 6
    assert {name: len(ids) for name, ids in data.chosen_ids().items()} == {"train": 4, "val": 2, "test": 3}
    assert next(iter(data.train_dataloader()))["images"].shape == (2, 3, 96, 96)
