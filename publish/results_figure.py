"""The figure of results.md: AP of every seed in every configuration at one ratio, clean and under attack."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_det.reports.figures.style import PALETTE
from hydra_det.reports.paper import CONFIGURATIONS
from publish.results_tables import shown_ratio

SIDES = {"map_clean": ("clean", PALETTE[1], 0.16), "map_attacked": ("attacked", PALETTE[2], -0.16)}
DENSE = "dense"


def draw(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for every data set, by its name: points are seeds, bars their means.

    `dense` is the network that the configurations of the paper in colour start from.
    """
    values = {name: values_of(frame, shown_ratio(frame)) for name, frame in frames.items()}
    rows = max(table["configuration"].nunique() for table in values.values())
    figure = Figure(figsize=(5.5 * len(values), 0.6 + 0.42 * rows), layout="constrained")
    for panel, (name, table) in zip(figure.subplots(1, len(values), squeeze=False).flat, values.items(), strict=True):
        _panel(panel, f"{name}, {100 * shown_ratio(frames[name]):g} % removed", table)
    return figure


def values_of(frame: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Configuration, seed, and AP clean and attacked: of the dense network, and of those with the ratio removed."""
    pruned = frame[frame["ratio"] == ratio]
    pruned = pruned.rename(columns={f"{metric}_pruned": metric for metric in SIDES})
    papers = {cell.configuration for cell in CONFIGURATIONS.values() if not cell.greyscale}
    dense = frame[frame["configuration"].isin(papers)].rename(columns={f"{metric}_dense": metric for metric in SIDES})
    both = pd.concat([dense.assign(configuration=DENSE), pruned])
    return both.groupby(["configuration", "seed"], as_index=False)[list(SIDES)].mean()


def _panel(panel: Axes, title: str, table: pd.DataFrame) -> None:
    means = table.groupby("configuration")[list(SIDES)].mean().sort_values("map_attacked")
    places = {configuration: place for place, configuration in enumerate(means.index)}
    for metric, (label, colour, shift) in SIDES.items():
        at = table["configuration"].map(places) + shift
        panel.barh([place + shift for place in places.values()], means[metric], 0.3, color=colour, alpha=0.35)
        panel.plot(table[metric], at, "o", color=colour, markersize=3, label=label)
    panel.set_yticks(list(places.values()), list(places), fontsize=8)
    panel.set_xlabel("AP@[.5:.95]", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_title(title, fontsize=9)
    panel.legend(frameon=False, fontsize=8, loc="lower right")
    panel.spines[["top", "right"]].set_visible(False)
