"""What the masks leave of every layer."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hydra_det.records.record import Record
from hydra_det.reports.figures.style import new_axes, wrapped
from hydra_det.reports.file_names import file_names

LAYER_COLUMNS = ("configuration", "ratio", "seed", "layer", "place", "size", "single", "weights", "kept_share")
ROW = 0.155  # inches of a layer
POINT = "1 x 1"  # a kernel of one weight


def layer_table(records: Mapping[str, Record], frame: pd.DataFrame) -> pd.DataFrame:
    """A row for every run and masked layer, with `LAYER_COLUMNS`; `place` is that in the network.

    `single`: a kernel of this layer is one weight, so where whole kernels are pruned single weights go.

    Args:
        records: by folder of the run.
        frame: `records_frame` of them.
    """
    rows = []
    for run in frame.to_dict("records"):
        sparsity = records[run["folder"]].sparsity
        for place, layer in enumerate(sparsity["layers"]):
            weights = layer["kept"] + layer["pruned"]
            rows.append(
                {
                    "configuration": run["configuration"],
                    "ratio": run["ratio"],
                    "seed": run["seed"],
                    "layer": layer["name"],
                    "place": place,
                    "size": " x ".join(map(str, layer["shape"])),
                    "single": sparsity["granularity"] == "kernel" and layer["shape"][-2:] == [1, 1],
                    "weights": weights,
                    "kept_share": layer["kept"] / weights if weights else math.nan,
                }
            )
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def layer_figures(table: pd.DataFrame) -> dict[str, Figure]:
    """For every configuration the share of the weights of every layer that stays, a mean over runs.

    A heat map, layers down and ratios across; of one ratio alone, bars.
    """
    figures: dict[str, Figure] = {}
    names = file_names(map(str, table["configuration"].unique()))
    for configuration, found in table.groupby("configuration", sort=False):
        order = found.groupby("layer")["place"].min().sort_values(kind="stable").index
        shares = found.pivot_table(index="layer", columns="ratio", values="kept_share", aggfunc="mean").reindex(order)
        single = found.groupby("layer")["single"].any()
        draw = _heat_map if shares.shape[1] > 1 else _bars
        figures[f"kept_{names[str(configuration)]}"] = draw(str(configuration), shares, single)
    return figures


def _heat_map(configuration: str, shares: pd.DataFrame, single: pd.Series) -> Figure:
    figure, axes = new_axes(height=1.3 + ROW * max(6, len(shares)))
    picture = axes.imshow(shares.to_numpy(), vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest")
    axes.set_title(wrapped(configuration), fontsize=9, loc="left")
    axes.set_xticks(range(shares.shape[1]), [f"{100 * ratio:g}" for ratio in shares.columns])
    axes.set_xlabel("pruning ratio, %")
    axes.set_yticks(range(len(shares)), _labels(shares, single))
    axes.tick_params(axis="y", labelsize=6, length=0)
    axes.spines[:].set_visible(False)
    # White lines between columns, so that neighbouring ratios of one value read as two.
    axes.vlines(np.arange(shares.shape[1] - 1) + 0.5, -0.5, len(shares) - 0.5, color="white", lw=1)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6 if len(shares) > 12 else 1, pad=0.02)
    bar.set_label("share of the weights kept", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _bars(configuration: str, shares: pd.DataFrame, single: pd.Series) -> Figure:
    """Bars from the image at the top down to the outputs; the line is the share of all that is to stay."""
    figure, axes = new_axes(height=1.0 + ROW * max(6, len(shares)))
    ratio = float(shares.columns[0])
    axes.barh(range(len(shares)), shares.to_numpy()[:, 0], 0.8, color="#2a6f97")
    axes.axvline(1 - ratio, color="black", lw=1, ls=":")
    axes.set_title(wrapped(f"{configuration}, {100 * ratio:g} % removed"), fontsize=9, loc="left")
    axes.set_yticks(range(len(shares)), _labels(shares, single))
    axes.tick_params(axis="y", labelsize=6, length=0)
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the weights kept")
    return figure


def _labels(shares: pd.DataFrame, single: pd.Series) -> list[str]:
    return [f"{name}  {POINT}" if single[name] else str(name) for name in shares.index]
