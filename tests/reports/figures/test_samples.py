"""Grids of pictures: which picture lies where, and what is drawn where there is none."""

import io

import pytest
from PIL import Image

from hydra_det.records.table import records_frame
from hydra_det.reports.figures.samples import GAP, LEFT, TILE, TOP, sample_grid
from tests.reports.example import grid_record

NAMES = ["deeplift_paper, weight", "scaled, kernel"]
RED, GREEN, BLUE, BLANK = (250, 0, 0), (0, 200, 0), (0, 0, 240), (236, 236, 236)


@pytest.fixture
def runs(tmp_path):
    """Folders of runs: every one by configuration, ratio and seed."""
    cells = [(name, ratio, seed) for name in NAMES for ratio in (0.0, 0.9) for seed in (0, 1)]
    records = {f"{place}": grid_record(*cell) for place, cell in enumerate(cells)}
    paths = {folder: tmp_path / folder for folder in records}

    def save(cell, image_id, colour, condition="attacked"):
        folder = paths[str(cells.index(cell))] / "pruned" / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 300), colour).save(folder / f"{image_id}_{condition}.jpg")

    return records_frame(records), paths, save


def made(frame, paths):
    """The grid of attacked pictures, which there must be."""
    grid = sample_grid(frame, paths, NAMES, condition="attacked")
    assert grid is not None
    return grid


def colour_at(grid, row, column):
    picture = Image.open(io.BytesIO(grid.picture)).convert("RGB")
    height = round(TILE * 300 / 400)
    return picture.getpixel((LEFT + column * (TILE + GAP) + 20, TOP + row * (height + GAP) + 20))


def is_like(one, two):
    return all(abs(a - b) < 12 for a, b in zip(one, two, strict=True))


def test_ratios_go_down_and_configurations_across(runs):
    frame, paths, save = runs
    save((NAMES[0], 0.0, 1), 7, RED)
    save((NAMES[0], 0.9, 0), 7, GREEN)
    save((NAMES[0], 0.9, 1), 7, RED)  # a later seed
    save((NAMES[1], 0.9, 0), 7, BLUE)
    save((NAMES[1], 0.9, 0), 3, RED)  # an image of which fewer runs have a picture
    save((NAMES[1], 0.0, 0), 7, RED, "clean")  # of the other condition
    grid = made(frame, paths)
    assert (grid.image_id, grid.missing, grid.seeds) == ("7", 1, [0, 1])
    for (row, column), colour in {(0, 0): RED, (1, 0): GREEN, (1, 1): BLUE, (0, 1): BLANK}.items():
        assert is_like(colour_at(grid, row, column), colour), (row, column)


def test_of_equally_many_the_first_image(runs):
    frame, paths, save = runs
    for image_id in (10, 9):
        save((NAMES[0], 0.0, 0), image_id, RED)
    assert made(frame, paths).image_id == "9"


def test_a_broken_picture_is_no_picture(runs):
    frame, paths, save = runs
    save((NAMES[0], 0.0, 0), 7, RED)
    save((NAMES[1], 0.9, 0), 7, RED)
    broken = next(path for path in paths["0"].rglob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:300])
    grid = made(frame, paths)
    assert grid.missing == 3
    assert is_like(colour_at(grid, 0, 0), BLANK)


def test_no_pictures_no_grid(runs):
    frame, paths, save = runs
    save((NAMES[0], 0.0, 0), 7, RED)
    assert sample_grid(frame, paths, NAMES, condition="clean") is None
