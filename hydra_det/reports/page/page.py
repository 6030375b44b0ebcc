"""A whole report as one HTML file, which needs nothing else: pictures, style and all are in it.

How it looks is in `templates/`. Whatever goes into them is escaped there; nothing is let through as HTML.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hydra_det.reports.figures.headline import NAME
from hydra_det.reports.figures.views import side_by_side
from hydra_det.reports.page.findings import findings
from hydra_det.reports.page.pictures import Chart, chart, data_uri
from hydra_det.reports.page.report import Report
from hydra_det.reports.page.sections import sections

TEMPLATES = Path(__file__).with_name("templates")


def page(report: Report) -> str:
    """The HTML."""
    runs = report.runs
    data = ", ".join(sorted({record.dataset["name"] for record in runs.records.values()}))
    template = environment().get_template("page.html")
    return template.render(
        title=f"Pruned detectors: {data}",
        counted=_counted(report),
        cautions=report.cautions,
        findings=findings(runs.records, runs.frame),
        headline=_headline(report),
        photo=_photo(report),
        sections=sections(report),
    )


def environment() -> Environment:
    """The templates: all of them escape, and a name that they misspell is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _counted(report: Report) -> str:
    """What the report is about, in a line."""
    frame = report.runs.frame
    counts = [(len(frame), "run"), (frame["configuration"].nunique(), "configuration"),
              (frame["ratio"].nunique(), "pruning ratio"), (frame["seed"].nunique(), "seed")]  # fmt: skip
    if report.alone:
        return f"one run: {report.alone.name}"
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)


def _headline(report: Report) -> Chart | None:
    if f"{NAME}.svg" not in report.pictures:
        return None
    return chart(NAME, report.pictures, caption=f"{NAME}_of_one" if report.alone else None)


def _photo(report: Report) -> dict[str, Any] | None:
    """One test image as the networks see it, with the run that it comes from."""
    views = side_by_side(report.views)
    if not views:
        return None
    (run,) = report.runs.frame[report.runs.frame["folder"] == report.viewed].to_dict("records")
    return {
        "image_id": views[0].image_id,
        "views": [(view, data_uri(view.picture, "jpeg")) for view in views],
        "configuration": run["configuration"],
        "ratio": f"{100 * run['ratio']:g} %",
        "seed": run["seed"],
    }
