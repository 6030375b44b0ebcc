"""All figures and pictures of a report."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hydra_det.files.atomic import write_atomically
from hydra_det.reports.figures.compaction import compaction_figure
from hydra_det.reports.figures.curves import curve_figures, paper_figures, trade_figures
from hydra_det.reports.figures.forest import forest_figures
from hydra_det.reports.figures.headline import headline_figure
from hydra_det.reports.figures.layers import layer_figures, layer_table
from hydra_det.reports.figures.learning import learning_figures, trainings
from hydra_det.reports.figures.samples import SampleGrid, sample_grid
from hydra_det.reports.figures.style import looks
from hydra_det.reports.runs import Runs

CONDITIONS = ("attacked", "clean")


def draw_figures(runs: Runs, comparisons: pd.DataFrame, *, paper: bool) -> dict[str, Figure]:
    """Every figure by the name of its files; of what no run has there is none.

    Args:
        runs: what is drawn.
        comparisons: `compare` of them.
        paper: the paper's own curves, too.
    """
    frame, look = runs.frame, looks(runs.frame["configuration"])
    alone = next(iter(runs.records.values())) if len(runs.records) == 1 else None
    return {
        **headline_figure(frame, look),
        **curve_figures(frame, look),
        **(paper_figures(frame) if paper else {}),
        **trade_figures(frame, look),
        **forest_figures(comparisons),
        **learning_figures(trainings(runs.records, frame), look),
        **layer_figures(layer_table(runs.records, frame)),
        **(
            {"compaction": compaction_figure(alone)}
            if alone and alone.compaction and alone.compaction["latency"]
            else {}
        ),
    }


def draw_samples(runs: Runs) -> dict[str, SampleGrid]:
    """The grids of pictures by condition; none where the runs left no pictures."""
    names = list(looks(runs.frame["configuration"]))
    grids = {condition: sample_grid(runs.frame, runs.paths, names, condition=condition) for condition in CONDITIONS}
    return {condition: grid for condition, grid in grids.items() if grid is not None}


def write_pictures(folder: Path, pictures: Mapping[str, bytes], samples: Mapping[str, SampleGrid]) -> None:
    """The files: every figure by its name, the grids as JPEG."""
    grids = {f"samples_{condition}.jpg": grid.picture for condition, grid in samples.items()}
    for name, content in {**pictures, **grids}.items():
        write_atomically(folder / name, content)
