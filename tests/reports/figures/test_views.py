"""Pictures of the networks of a run: which are found, in which order, and what is no picture."""

import io

import pytest
from PIL import Image

from hydra_det.reports.figures.views import by_image, first_views, run_views, side_by_side

PLACES = [(network, condition) for network in ("dense", "pruned") for condition in ("clean", "attacked")]


def save(run, network, condition, image_id, colour="red"):
    path = run / network / "samples" / f"{image_id}_{condition}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100), colour).save(path)
    return path


def keys(views):
    return [(view.image_id, view.network, view.condition) for view in views]


def test_images_in_order_and_each_in_every_network(tmp_path):
    for image_id in (10, 9):
        for place in PLACES:
            save(tmp_path, *place, image_id, "blue" if place == ("pruned", "clean") else "red")
    views = run_views(tmp_path)
    assert keys(views) == [(image_id, *place) for image_id in ("9", "10") for place in PLACES]
    assert [len(row) for row in by_image(views)] == [4, 4]
    pictures = [Image.open(io.BytesIO(view.picture)).convert("RGB") for view in views[:4]]
    assert {picture.size for picture in pictures} == {(384, 192)}
    blue = [picture.getchannel("B").tobytes()[0] > 200 for picture in pictures]
    assert blue == [False, False, True, False], "the picture of this network and no other"


def test_side_by_side_is_the_image_that_shows_most(tmp_path):
    save(tmp_path, "pruned", "attacked", 1)
    for place in PLACES:
        save(tmp_path, *place, 2)
        save(tmp_path, *place, 3)
    views = run_views(tmp_path)
    assert keys(side_by_side(views)) == [
        ("2", "dense", "clean"),
        ("2", "dense", "attacked"),
        ("2", "pruned", "attacked"),
    ]
    assert side_by_side([]) == []


def test_a_broken_picture_is_no_picture(tmp_path):
    path = save(tmp_path, "dense", "clean", 1)
    path.write_bytes(path.read_bytes()[:300])
    save(tmp_path, "pruned", "clean", 1)
    (tmp_path / "pruned" / "samples" / "2_clean.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    assert keys(run_views(tmp_path)) == [("1", "pruned", "clean")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_first_run_with_pictures(tmp_path, order):
    runs = [tmp_path / str(place) for place in (0, 1)]
    save(runs[1], "dense", "clean", 5)
    found = first_views([runs[place] for place in order])
    assert found is not None
    assert (found[0], keys(found[1])) == (runs[1], [("5", "dense", "clean")])
    assert first_views([runs[0]]) is None
