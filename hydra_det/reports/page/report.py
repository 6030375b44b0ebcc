"""Everything that a report shows, put together from runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from hydra_det.records.record import Record
from hydra_det.reports.figures.drawings import draw_figures, draw_samples
from hydra_det.reports.figures.samples import SampleGrid
from hydra_det.reports.figures.style import rendered
from hydra_det.reports.figures.views import View, first_views
from hydra_det.reports.page.findings import chosen_cell
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.answers import answers
from hydra_det.reports.statistics.cautions import Caution, cautions_of
from hydra_det.reports.statistics.cells import cell_table
from hydra_det.reports.statistics.comparisons import compare


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page shows."""

    runs: Runs
    cells: pd.DataFrame  # `cell_table`
    comparisons: pd.DataFrame  # `compare`
    cautions: Sequence[Caution]
    pictures: Mapping[str, bytes]  # figures as PNG and SVG, by the names of their files
    samples: Mapping[str, SampleGrid]  # by condition
    views: Sequence[View] = field(default_factory=list)  # of one run
    viewed: str = ""  # which: its folder

    @cached_property
    def answered(self) -> pd.DataFrame:
        """`answers` of the runs."""
        return answers(self.runs.frame, self.runs.failures, late=self.runs.late)

    @property
    def alone(self) -> Record | None:
        """The record, where there is one run only."""
        return next(iter(self.runs.records.values())) if len(self.runs.records) == 1 else None

    @property
    def one_cell(self) -> bool:
        """Whether there is one configuration at one ratio: a curve would be a point."""
        return len(self.runs.frame[["configuration", "ratio"]].drop_duplicates()) == 1


def make_report(runs: Runs, *, paper: bool) -> Report:
    """Compute and draw everything.

    Args:
        runs: what it is about.
        paper: the paper's own curves, too.
    """
    comparisons = compare(runs.records, runs.frame, late=runs.late)
    viewed, views = views_of(runs)
    return Report(
        runs=runs,
        cells=cell_table(runs.frame),
        comparisons=comparisons,
        cautions=cautions_of(
            runs.records, runs.problems, runs.frame, comparisons, failures=runs.failures, suites=runs.suites
        ),
        pictures=rendered(draw_figures(runs, comparisons, paper=paper)),
        samples=draw_samples(runs),
        views=views,
        viewed=viewed,
    )


def views_of(runs: Runs) -> tuple[str, list[View]]:
    """A run with pictures and these: of the cell that the first screen speaks of, if there is one, else any."""
    cell, frame = chosen_cell(runs.frame), runs.frame.sort_values("seed", kind="stable")
    own = frame[(frame["configuration"] == cell.configuration) & (frame["ratio"] == cell.ratio)] if cell else frame
    folders = dict.fromkeys([*own["folder"], *frame["folder"]])
    found = first_views([runs.paths[folder] for folder in folders])
    if found is None:
        return "", []
    return next(folder for folder in folders if runs.paths[folder] == found[0]), found[1]
