"""A whole report as one HTML file, which needs nothing else: pictures, style and all are in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from hydra_det.reports.figures.captions import CAPTIONS, common_caption, in_section
from hydra_det.reports.figures.samples import SampleGrid
from hydra_det.reports.figures.style import looks
from hydra_det.reports.page.cautions import Caution
from hydra_det.reports.page.explanation import explanation
from hydra_det.reports.page.markup import Markup, bullets, figure, image, tag, text
from hydra_det.reports.page.overview import overview
from hydra_det.reports.page.summary import summary
from hydra_det.reports.page.value_tables import (
    claim_table,
    comparison_notes,
    configuration_tables,
    headline_tables,
    p_value_tables,
)
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.answers import RULE, answers, is_tested
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.claims import IMPROVEMENTS, PAPER

STYLE = Path(__file__).with_name("page.css")
# What is folded would be missing on paper.
UNFOLD = "addEventListener('beforeprint',()=>document.querySelectorAll('details').forEach(d=>d.open=true))"
NO_ICON = "data:,"  # else a browser asks for one


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page shows."""

    runs: Runs
    cells: pd.DataFrame  # `cell_table`
    comparisons: pd.DataFrame  # `compare`
    cautions: Sequence[Caution]
    pictures: Mapping[str, bytes]  # figures as PNG and SVG, by the names of their files
    samples: Mapping[str, SampleGrid]  # by condition

    @cached_property
    def answered(self) -> pd.DataFrame:
        """`answers` of the runs."""
        return answers(self.runs.frame, self.runs.failures)


def page(report: Report) -> str:
    """The HTML."""
    sections = {name: list(content) for name, content in _sections(report).items()}
    shown = {name: content for name, content in sections.items() if content}
    links = [tag("a", name, href=f"#{_anchor(name)}") for name in shown]
    title = f"Pruned detectors: {', '.join(sorted({r.dataset['name'] for r in report.runs.records.values()}))}"
    body = tag(
        "body",
        tag("h1", title),
        tag("nav", *links),
        _cautions(report.cautions),
        *(
            tag("section", tag("h2", name), *content, id=_anchor(name), aria_label=name)
            for name, content in shown.items()
        ),
    )
    icon = Markup(f'<link rel="icon" href="{NO_ICON}">')
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        icon,
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
        tag("script", Markup(UNFOLD)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sections(report: Report) -> dict[str, Iterator[Markup]]:
    return {
        "Summary": _summary(report),
        "What the paper claims, and what came out": _claims(report, PAPER),
        "What we claim beside it, and what came out": _claims(report, IMPROVEMENTS),
        "What was run": _overview(report),
        "Numbers": _numbers(report),
        "Accuracy": _figures(report, "accuracy"),
        "Speed and size": _figures(report, "speed"),
        "What is given up for what": _figures(report, "trade"),
        "Differences": _differences(report),
        "One image, every network": _samples(report),
        "Learning": _figures(report, "learning"),
        "What the masks leave": _figures(report, "layers"),
        "Every configuration": _configurations(report),
        "How the numbers were made": explanation(report.runs.records),
        "Files": _files(report),
    }


def _cautions(cautions: Sequence[Caution]) -> Markup:
    if not cautions:
        return tag("p", "No warnings: every record was read, and all runs compare.", class_="quiet")
    title = "1 warning" if len(cautions) == 1 else f"{len(cautions)} warnings"
    items = [[tag("b", caution.kind), ": ", caution.text] for caution in cautions]
    return tag("div", tag("h2", title), bullets(items), class_="cautions", role="alert")


def _summary(report: Report) -> Iterator[Markup]:
    yield bullets(summary(report.runs.frame))


def _claims(report: Report, family: str) -> Iterator[Markup]:
    answered = report.answered[report.answered["family"] == family]
    if is_tested(answered):
        yield claim_table(answered)
        yield tag("p", RULE, " In full precision: ", tag("code", "claims.csv"), class_="quiet")


def _overview(report: Report) -> Iterator[Markup]:
    rows = overview(report.runs)
    yield tag("dl", *([tag("dt", term), *(tag("dd", line) for line in lines)] for term, lines in _one_each(rows)))


def _one_each(rows: Sequence[tuple[str, list[str]]]) -> Iterator[tuple[str, list[Markup]]]:
    """Several lines of a term in one description, so that the two columns stay two."""
    for term, lines in rows:
        yield term, [text([tag("div", line) for line in lines])]


def _numbers(report: Report) -> Iterator[Markup]:
    yield from headline_tables(report.runs.frame, report.cells, looks(report.runs.frame["configuration"]))
    measured = report.cells.groupby("metric")["n"].sum()
    if missing := [METRICS[name].label for name in METRICS if not measured.get(name, 0)]:
        yield tag("p", f"Not measured in any run: {'; '.join(missing)}.", class_="quiet")
    yield tag("p", "In full precision: ", tag("code", "cells.csv"), ", ", tag("code", "runs.csv"), class_="quiet")


def _figures(report: Report, section: str) -> Iterator[Markup]:
    names = [file.removesuffix(".svg") for file in report.pictures if file.endswith(".svg")]
    found = [
        figure(
            image(report.pictures[f"{name}.svg"], "svg+xml", alt=name.replace("_", " ")),
            [CAPTIONS.get(name, ""), " ", tag("code", f"figures/{name}.png")],
        )
        for name in in_section(names, section)
    ]
    if found and (common := common_caption(section)):
        yield tag("p", common)
    if found:
        yield tag("div", *found, class_="grid")


def _differences(report: Report) -> Iterator[Markup]:
    tables = p_value_tables(report.comparisons)
    if not tables:
        yield tag("p", "Nothing to compare: there is one configuration only, or none that shares a ratio with another.")
        return
    yield from tables
    if notes := comparison_notes(report.comparisons):
        yield tag("p", "What to know of them:")
        yield bullets(notes)
    yield tag("p", "All tests and intervals: ", tag("code", "comparisons.csv"), class_="quiet")
    yield from _figures(report, "differences")


def _samples(report: Report) -> Iterator[Markup]:
    for condition, grid in report.samples.items():
        seeds = ", ".join(map(str, grid.seeds))
        attacked = (
            "The attack is made anew on each network with its own gradients (white box), so the noise differs from "
            "tile to tile. "
            if condition == "attacked"
            else ""
        )
        missing = f" {grid.missing} tiles have no picture." if grid.missing else ""
        says = (
            f"Test image {grid.image_id}, {condition}: pruning ratios from top to bottom, configurations from left to "
            f"right. White boxes are the objects, coloured ones what the network finds. {attacked}From the first seed "
            f"that has a picture: {seeds}.{missing} "
        )
        picture = image(grid.picture, "jpeg", alt=f"test image {grid.image_id} in every network, {condition}")
        yield tag("figure", tag("div", picture, class_="samples"), tag("figcaption", says,
                  tag("code", f"figures/samples_{condition}.jpg")))  # fmt: skip


def _configurations(report: Report) -> Iterator[Markup]:
    yield from configuration_tables(report.runs.frame, report.cells, looks(report.runs.frame["configuration"]))


def _files(report: Report) -> Iterator[Markup]:
    yield tag("p", "Beside this page:")
    yield bullets(
        [
            [tag("code", "runs.csv"), f" a row a run, {len(report.runs.frame)} of them, everything measured"],
            [tag("code", "cells.csv"), " a row a configuration, ratio and metric: seeds, mean, sd, least, largest"],
            [tag("code", "comparisons.csv"), " a row a metric, comparison and ratio: all tests and intervals"],
            *([[tag("code", "claims.csv"), " a row a claim"]] if is_tested(report.answered) else []),
            [tag("code", "tables/"), " the paper's tables from these runs, as Markdown, LaTeX and CSV"],
            [tag("code", "figures/"), " every figure as PNG and SVG, and the pictures"],
        ]
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-").replace(",", "")
