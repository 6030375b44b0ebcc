"""The page: whole HTML that needs nothing else, with every number and every warning, and names that do no harm."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from hydra_det.records.table import records_frame
from hydra_det.reports.figures.drawings import draw_figures, draw_samples
from hydra_det.reports.figures.style import looks, rendered
from hydra_det.reports.page.page import TEMPLATES, environment, page
from hydra_det.reports.page.report import Report, make_report
from hydra_det.reports.page.table import Cell, Row, Table
from hydra_det.reports.page.value_tables import dense_rows, headline_tables
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.cautions import Caution
from hydra_det.reports.statistics.cells import METRICS, cell_table
from hydra_det.reports.statistics.comparisons import compare
from tests.reports.example import grid, grid_record, network
from tests.reports.tables.test_compaction import completed

TWO = ("deeplift_paper, weight", "scaled, kernel")
EVIL = "<script>alert('&')</script>"
VOID = {"meta", "link", "img"}
ONCE = {name: f"<b>{name}</b>" for name in ("heading", "below", "text", "words", "strong", "head", "caption")}


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what they hold."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.cells, self.words, self.tags = [], [], [], [], []
        self.elements = []  # name and attributes

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.elements.append((name, dict(attributes)))
        self.addresses += [value for key, value in attributes if key in {"src", "href", "srcset", "data", "action"}]
        if name not in VOID:
            self.open.append(name)
        if name in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name, f"{name} closes nothing"

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def read(source):
    reader = Reader()
    reader.feed(source)
    reader.close()
    assert reader.open == []
    return reader


def report_of(records, tmp_path, *, cautions=(), draw=True):
    frame = records_frame(records)
    runs = Runs([tmp_path], dict(records), {name: tmp_path / name for name in records}, {}, {}, frame)
    comparisons = compare(records, frame)
    figures = draw_figures(runs, comparisons, paper=False) if draw else {}
    return Report(
        runs=runs,
        cells=cell_table(frame),
        comparisons=comparisons,
        cautions=cautions,
        pictures=rendered(dict(list(figures.items())[:2])),
        samples=draw_samples(runs),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    report = report_of(
        grid(TWO, seeds=range(3)), tmp_path_factory.mktemp("runs"), cautions=[Caution("time", f"busy {EVIL}")]
    )
    return report, page(report)


def test_it_nests_and_refers_to_nothing_outside(whole):
    found = read(whole[1])
    assert found.addresses
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert "@import" not in whole[1]
    assert not re.search(r"url\((?!data:)", whole[1])
    anchors = [address[1:] for address in found.addresses if address.startswith("#")]
    assert all(f'id="{anchor}"' in whole[1] for anchor in anchors)


def test_warnings_stand_on_top_behind_their_number_and_unfold_on_paper(whole):
    source = whole[1]
    assert "<summary>1 warning</summary>" in source
    assert source.index("<h1>") < source.index("busy") < source.index("<nav") < source.index("<section")
    before = source[: source.index("busy")]
    assert before.rindex("<details") > before.rindex("</figure>"), "the warning is within what is folded"
    assert "addEventListener('beforeprint'" in source
    assert "details::details-content" in source.partition("@media print")[2]
    assert "busy &lt;script&gt;alert(" in source
    assert read(source).tags.count("script") == 1


def test_numbers_are_those_of_the_cells(whole):
    report, source = whole
    cells = read(source).cells
    for row in report.cells.to_dict("records"):
        if row["n"]:
            form = METRICS[row["metric"]].form
            assert f"{form.format(row['mean'])} ± {form.format(row['sd'])}" in cells, row
    for row in report.comparisons.to_dict("records"):
        if row["metric"] == "map_attacked":
            shown = f"{row['difference']:+.3f}".replace("-", "\N{MINUS SIGN}")
            p = "<0.0001" if row["p_holm"] < 0.0001 else f"{row['p_holm']:.2g}"
            p += " (hint)" if row["p_holm"] < 0.05 else ""  # of so few seeds
            assert f"{shown}{p}" in cells, row


def test_every_configuration_and_every_file_is_named(whole):
    report, source = whole
    words = " ".join(read(source).words)
    for name in (*TWO, "runs.csv", "cells.csv", "comparisons.csv", "tables/", *report.runs.records):
        assert name in words
    for key in report.pictures:
        assert key.endswith(".svg") or f"figures/{key}" in words


def test_names_are_shown_and_not_run(tmp_path):
    record = grid_record(TWO[0], 0.5, 0)
    evil = dataclasses.replace(
        record,
        name=EVIL,
        commit=EVIL,
        dataset={**record.dataset, "name": EVIL, "classes": [EVIL]},
        overrides=[EVIL],
        versions={EVIL: EVIL},
        config={"choices": {"init": EVIL, "model": EVIL, "hardening": EVIL}},
        attack={**record.attack, "name": EVIL},
    )
    source = page(report_of({EVIL: evil, "b": grid_record(TWO[0], 0.5, 1)}, tmp_path, draw=False))
    found = read(source)
    assert found.tags.count("script") == 1
    assert "".join(found.words).count(EVIL) >= 8


@pytest.mark.parametrize("kind", ["one run", "not attacked", "not timed"])
def test_what_is_missing_is_said(kind, tmp_path):
    records = grid(TWO, seeds=range(2))
    if kind == "one run":
        records = dict(list(records.items())[:1])
    elif kind == "not attacked":
        bare: Any = {"dense": network(0.4, None), "pruned": network(0.3, None)}
        records = {folder: dataclasses.replace(record, metrics=bare) for folder, record in records.items()}
    else:
        records = {folder: dataclasses.replace(record, latency={}, sizes={}) for folder, record in records.items()}
    words = " ".join(" ".join(read(page(report_of(records, tmp_path, draw=False))).words).split())
    expected = {
        "one run": "One seed: no spread and no test",
        "not attacked": "nothing here is about robustness",
        "not timed": "No run was timed",
    }
    assert expected[kind] in words
    missing = {"not attacked": "AP attacked", "not timed": "speed-up of the compact network"}
    assert ("Not measured in any run" in words) == (kind != "one run")
    assert missing.get(kind, "") in words.partition("Not measured in any run")[2]
    assert "nan" not in words.lower().split()


def test_claims_are_answered_near_the_top(whole):
    report, source = whole
    assert "What the paper claims" not in source, "TWO differ in scores and in masks: no claim is about that"
    assert "claims.csv" not in source
    records = grid(["deeplift_paper, weight", "deeplift_paper, kernel"], seeds=range(3))
    report = report_of(records, report.runs.folders[0], draw=False)
    found = read(page(report))
    words = " ".join(found.words)
    place = words.index("What the paper claims, and what came out", words.index("Summary") + 200)
    assert place < words.index("AP attacked, mean")
    assert "What we claim beside it" not in words, "no run of ours"
    row = report.answered[report.answered["claim"].str.startswith("Unstructured")].iloc[0]
    assert row["answer"] == "yes"
    assert f"{row['effect']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" in found.cells


def test_failed_runs_reach_the_answers(tmp_path):
    records = grid(["deeplift_paper, weight", "deeplift_paper, kernel"], ratios=[0.5], seeds=range(3))
    report = report_of(records, tmp_path, draw=False)
    report.runs.failures["deeplift_paper_kernel_0.9_seed0"] = "error: a layer kept nothing"
    assert "failed runs of these configurations, which are in no mean: 1, at 90 %" in page(report)


def test_no_template_lets_anything_through_as_html():
    templates = sorted(TEMPLATES.glob("*.html"))
    assert len(templates) > 10
    for path in templates:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", source), path.name
        assert environment().from_string("{{ x }}").render(x="<&'\">") == "&lt;&amp;&#39;&#34;&gt;"
    with pytest.raises(UndefinedError):
        environment().from_string("{{ mispelt }}").render()


def test_every_part_of_a_table_is_escaped():
    cells = [
        Cell(ONCE["text"], below=ONCE["below"]),
        Cell(ONCE["words"], words=True),
        Cell(ONCE["strong"], strong=True),
    ]
    rows = [Row(ONCE["heading"], cells, colour='"><b>'), Row(ONCE["heading"], [], words=True)]
    content = Table([ONCE["head"]], rows, ONCE["caption"])
    template = environment().from_string(
        '{% import "parts.html" as parts %}{{ parts.table(content) }}{{ parts.bullets(x) }}'
    )
    source = template.render(content=content, x=["<b>"])
    found = read(source)
    assert found.tags.count("b") == 1, "of the strong cell alone"
    for name in ONCE.values():
        assert name in found.words
    assert "<b>" in found.words


def test_the_first_screen_says_what_was_found(whole):
    source = whole[1]
    first = read(source.partition("<nav")[0] + "</main></body></html>")
    words = " ".join(" ".join(first.words).split())
    for about in ("What is left.", "What it brings.", "How sure that is."):
        assert about in words
    assert "figures/headline.png" in words
    (headline,) = (found for name, found in first.elements if name == "img")
    assert headline["src"].startswith("data:image/svg+xml;base64,")
    assert "18 runs, 2 configurations, 3 pruning ratios, 3 seeds" in words


def test_pictures_have_words_and_sections_names(whole, alone):
    for source in (whole[1], page(alone)):
        found = read(source)
        assert [name for name, given in found.elements if name == "img" and not given.get("alt")] == []
        names = [given.get("aria-label") for name, given in found.elements if name in {"section", "nav"}]
        assert len(names) > 5
        assert all(names)
        assert "prefers-color-scheme: dark" in source


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One run with pictures and with what compact.py measured."""
    root = tmp_path_factory.mktemp("alone")
    record = dataclasses.replace(completed(), name=EVIL)
    for network_name in ("dense", "pruned"):
        for condition in ("clean", "attacked"):
            path = root / network_name / "samples" / f"7_{condition}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), "red").save(path)
    runs = Runs([root], {".": record}, {".": root}, {}, {}, records_frame({".": record}))
    return make_report(runs, paper=False)


def test_one_run_alone_shows_what_it_has_and_no_more(alone):
    source = page(alone)
    found = read(source)
    titles = [given["aria-label"] for name, given in found.elements if name == "section"]
    for title in ("Dense and pruned", "Clean, attacked, pruned", "What compaction brings", "What the masks leave"):
        assert title in titles
    assert "Thin lines" not in source, "there is no spread of one"
    assert "Welch" not in source, "nor a test"
    for title in ("Differences", "What the paper claims, and what came out", "Accuracy", "One image, every network"):
        assert title not in titles
    alts = [given["alt"] for name, given in found.elements if name == "img"]
    assert alts.count("test image 7 in the dense network, attacked") == 2, "on the first screen and among all"
    assert alts.count("test image 7 in the pruned network, clean") == 1
    assert {"0.412", "0.304", "73.8%", "417.00 ± 1.50"} <= set(found.cells), "AP and time of both networks"
    assert {"400.0 ± 1.5", "160.0 ± 1.5", "2.50"} <= set(found.cells), "time by engine"
    assert "4.00 times fewer" in " ".join(found.words)
    assert found.tags.count("script") == 1
    assert EVIL in "".join(found.words)
    assert all(address.startswith(("#", "data:")) for address in found.addresses)


def test_what_a_tile_shows_is_the_picture_of_the_run(alone):
    (first, *_) = alone.views
    picture = Image.open(io.BytesIO(first.picture)).convert("RGB")
    assert picture.size == (384, 288)
    (red, *others) = (band.getpixel((10, 10)) for band in picture.split())
    assert red > 240  # type: ignore[operator]
    assert max(others) < 15  # type: ignore[type-var,operator]
    encoded = base64.b64encode(first.picture).decode()
    assert encoded in page(alone)


def test_the_dense_networks_stand_above_the_pruned_ones():
    records = grid(["scaled, weight", "scaled, kernel"], seeds=range(2))
    frame = records_frame(records)
    tables = headline_tables(frame, cell_table(frame), looks(frame["configuration"]))
    for table, metric in zip(tables[:2], ("map_attacked", "map_clean"), strict=True):
        first = table.rows[0]
        assert first.heading == "dense"
        by_seed = frame[frame["ratio"] == 0.5].groupby("seed")[f"{metric}_dense"].mean()
        assert first.cells[1].text == f"{by_seed.mean():.3f} ± {by_seed.std():.3f}"
    clean = frame["configuration"] == "scaled, kernel"
    frame["pretraining"] = np.where(clean, "clean", "adversarial")
    headings = [row.heading for row in dense_rows(frame, "map_attacked", [0.5])]
    assert headings == ["dense, not hardened", "dense, hardened"]
