"""The pages in docs/ that benchmarks write are what their numbers give: an edit by hand would be lost."""

import shutil

from benchmarks import plan_grid
from benchmarks.machine import ROOT
from benchmarks.page import write_page

DOCS = ROOT / "docs"


def test_the_page_of_benchmarks_is_that_of_its_numbers(tmp_path):
    for path in DOCS.glob("benchmarks_*.json"):
        shutil.copy(path, tmp_path)
    write_page(tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == (DOCS / "benchmarks.md").read_text(), "run make bench"


def test_the_plan_of_the_grid_is_that_of_the_times(tmp_path, monkeypatch):
    page = tmp_path / "planning.md"
    shutil.copy(DOCS / "planning.md", page)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["plan_grid", "docs/stage_times.json", "--write", str(page)])
    plan_grid.main()
    assert page.read_text() == (DOCS / "planning.md").read_text(), "run benchmarks.plan_grid --write"
