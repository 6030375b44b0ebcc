"""The sections of the page: which there are, in which order, and the values that their templates show."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hydra_det.records.record import Record
from hydra_det.reports.figures.captions import common_caption, in_section
from hydra_det.reports.figures.style import looks
from hydra_det.reports.figures.views import by_image
from hydra_det.reports.page.explanation import explanation
from hydra_det.reports.page.overview import overview
from hydra_det.reports.page.pictures import chart, data_uri
from hydra_det.reports.page.report import Report
from hydra_det.reports.page.summary import summary
from hydra_det.reports.page.table import plain_table
from hydra_det.reports.page.value_tables import (
    claim_table,
    comparison_notes,
    configuration_tables,
    headline_tables,
    p_value_tables,
)
from hydra_det.reports.statistics.answers import RULE, is_tested
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.claims import IMPROVEMENTS, PAPER
from hydra_det.reports.statistics.gains import compaction_of
from hydra_det.reports.statistics.hints import hints_in_words
from hydra_det.reports.tables.compaction import compaction_notes, compaction_rows
from hydra_det.reports.tables.networks import network_rows

Values = Mapping[str, Any]
BESIDE = ("speed_up_fastest",)  # metrics that are not missed: compact.py takes them, not the run


class Section(NamedTuple):
    """One of the page."""

    title: str
    anchor: str
    template: str  # the name of its file
    values: Values  # what the template shows, as `section`


def sections(report: Report) -> list[Section]:
    """Those that have something to say."""
    made = []
    for title, template, values in _everything(report):
        if values:
            made.append(Section(title, title.lower().replace(" ", "-").replace(",", ""), template, values))
    return made


def _everything(report: Report) -> list[tuple[str, str, Values]]:
    """Title, template and values; without values there is no section."""

    def figures(name: str) -> Values:
        return _figures(report, name)

    curves: Callable[[str], Values] = (lambda _: {}) if report.one_cell else figures
    return [
        (
            "Summary",
            "summary.html",
            {} if report.alone else {"sentences": summary(report.runs.frame, report.runs.late)},
        ),
        ("Dense and pruned", "tables.html", _networks(report.alone)),
        ("Clean, attacked, pruned", "views.html", _views(report)),
        ("What compaction brings", "compaction.html", _compaction(report)),
        ("What the paper claims, and what came out", "claims.html", _claims(report, PAPER)),
        ("What we claim beside it, and what came out", "claims.html", _claims(report, IMPROVEMENTS)),
        ("Numbers", "numbers.html", _numbers(report)),
        ("Accuracy", "figures.html", curves("accuracy")),
        ("Speed and size", "figures.html", curves("speed")),
        ("What is given up for what", "figures.html", figures("trade")),
        ("Differences", "differences.html", _differences(report)),
        ("One image, every network", "samples.html", _samples(report)),
        ("Learning", "figures.html", figures("learning")),
        ("What the masks leave", "figures.html", figures("layers")),
        ("Every configuration", "configurations.html", _configurations(report)),
        ("What was run", "overview.html", {"rows": overview(report.runs)}),
        ("How the numbers were made", "explanation.html", {"parts": explanation(report.runs.records)}),
        ("Files", "files.html", {"runs": len(report.runs.frame), "claims": is_tested(report.answered)}),
    ]


def _figures(report: Report, section: str) -> dict[str, Any]:
    drawn = [file.removesuffix(".svg") for file in report.pictures if file.endswith(".svg")]
    names = in_section(drawn, section)
    charts = [chart(name, report.pictures) for name in names]
    return {"common": common_caption(section), "figures": charts} if charts else {}


def _networks(record: Record | None) -> Values:
    if record is None:
        return {}
    rows = [[row.name, *row.cells] for row in network_rows(record)]
    return {"tables": [plain_table(["", "dense", "pruned", "pruned / dense"], rows)]}


def _views(report: Report) -> Values:
    """All pictures of a run that stands alone; of several runs a grid shows more."""
    if report.alone is None or not report.views:
        return {}
    rows = [
        [(view, data_uri(view.picture, "jpeg")) for view in views]
        for views in by_image(report.views)
    ]  # fmt: skip
    return {"rows": rows}


def _compaction(report: Report) -> Values:
    if report.alone is None or report.alone.compaction is None:
        return {}
    tables = [plain_table(rows.headings, rows.rows, caption=rows.title) for rows in compaction_rows(report.alone)]
    figures = _figures(report, "compaction").get("figures", [])
    return {"tables": tables, "notes": list(compaction_notes(compaction_of(report.alone))), "figures": figures}


def _claims(report: Report, family: str) -> Values:
    answered = report.answered[report.answered["family"] == family]
    return (
        {"table": claim_table(answered), "rule": RULE, "hint": hints_in_words(answered["hint"])}
        if is_tested(answered)
        else {}
    )


def _numbers(report: Report) -> Values:
    frame = report.runs.frame
    tables = (
        [] if report.alone else headline_tables(frame, report.cells, looks(frame["configuration"]), report.runs.late)
    )
    measured = report.cells.groupby("metric")["n"].sum()
    missing = [name for name in METRICS if name not in BESIDE and not measured.get(name, 0)]
    undefined = [name for name in missing if "clean" in name] if frame["map_clean_dense"].isna().all() else []
    return (
        {
            "tables": tables,
            "missing": [METRICS[name].label for name in missing if name not in undefined],
            "undefined": [METRICS[name].label for name in undefined],
        }
        if tables or missing
        else {}
    )


def _differences(report: Report) -> Values:
    if report.alone:
        return {}
    figures = _figures(report, "differences") or {"common": None, "figures": []}
    return {
        "tables": p_value_tables(report.comparisons),
        "notes": comparison_notes(report.comparisons),
        "hint": hints_in_words(report.comparisons["hint"]),
        **figures,
    }


def _samples(report: Report) -> Values:
    if report.alone and report.views:
        return {}
    grids = [(grid, data_uri(grid.picture, "jpeg")) for grid in report.samples.values()]
    return {"grids": grids} if grids else {}


def _configurations(report: Report) -> Values:
    frame = report.runs.frame
    found: Sequence[Any] = configuration_tables(frame, report.cells, looks(frame["configuration"]))
    return {"configurations": found}
