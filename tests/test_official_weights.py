"""The table of the official weights under attack: what is typed exists, and the page says what was measured."""

import json
from pathlib import Path

import pytest
import yaml

from publish.official_weights import (
    BEGIN,
    END,
    FIGURES,
    LEFT_OUT,
    PAGE,
    RADII,
    ROOT,
    SETS,
    commands,
    with_table,
)


def test_the_suite_is_left_with_the_radii_of_the_table():
    suite = yaml.safe_load((ROOT / "conf" / "suite" / "epsilon.yaml").read_text())
    assert set(suite["attacks"]) - set(LEFT_OUT) == set(RADII.values())
    assert set(LEFT_OUT) < set(suite["attacks"])
    for radius, attack in RADII.items():
        assert suite["attacks"][attack]["epsilon"] == pytest.approx(int(radius.removesuffix("/255")) / 255)


def test_every_set_is_scored_by_two_commands(tmp_path):
    for name in SETS:
        typed = commands(tmp_path, name, tmp_path / "out")
        assert list(typed) == ["evaluation.json", "robustness.json"]
        for words in typed.values():
            assert f"data.root={tmp_path / name}" in words


def test_the_table_by_hand():
    both = {"coco": {"map": 0.19749, "map_50": 0.394}, "paper": {"map": 0.1, "map_50": 0.2}}
    none = {"coco": {"map": 0.00254, "map_50": 0.01}, "paper": {"map": 0.0, "map_50": 0.0}}
    found = {
        "coco_real": {"images": 206, "protocols": {"clean": both, "PGD": none}},
        "coco_val416": {"images": 320, "protocols": {"clean": none, "PGD": both}},
    }
    page = with_table(f"before\n{BEGIN}old\n{END}after\n", found)
    before, lines, after = page.split(BEGIN)[0], page.split(BEGIN)[1].split(END)[0].splitlines(), page.split(END)[1]
    assert (before, after) == ("before\n", "after\n")
    assert "coco_real, 206 images" in lines[0]
    assert lines[2] == "| clean | 0.1975 / 0.3940 | 0.1000 / 0.2000 | 0.0025 / 0.0100 | 0.0000 / 0.0000 |"
    assert lines[3] == "| PGD | 0.0025 / 0.0100 | 0.0000 / 0.0000 | 0.1975 / 0.3940 | 0.1000 / 0.2000 |"


def test_the_page_has_a_place_for_the_table():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert (page.count(BEGIN), page.count(END)) == (1, 1)
    with pytest.raises(SystemExit, match="expected the marks"):
        with_table("no marks", {})


@pytest.mark.skipif(not (ROOT / FIGURES).is_file(), reason="nothing was measured yet")
def test_the_page_says_what_was_measured():
    page = Path(ROOT / PAGE).read_text(encoding="utf-8")
    assert page == with_table(page, json.loads((ROOT / FIGURES).read_text(encoding="utf-8")))
