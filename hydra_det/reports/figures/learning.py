"""Learning curves: the loss and the AP of every stage, epoch by epoch."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hydra_det.records.record import Record
from hydra_det.reports.figures.style import GREY, Look, add_key, new_axes

SHARED = "shared by several configurations"
AP = {"map": ("AP clean", "-"), "map_attacked": ("AP attacked", "--")}


class Training(NamedTuple):
    """A stage that was trained, however many runs share it."""

    stage: str
    fingerprint: str
    configurations: tuple[str, ...]  # of the runs that share it
    history: list[dict[str, Any]]  # an epoch each


def trainings(records: Mapping[str, Record], frame: pd.DataFrame) -> list[Training]:
    """Every stage with a history, once, in the order of the runs and their stages.

    Args:
        records: by folder of the run.
        frame: `records_frame` of them.
    """
    names = dict(zip(frame["folder"], frame["configuration"], strict=True))
    found: dict[tuple[str, str], tuple[set[str], list[dict[str, Any]]]] = {}
    for folder, record in records.items():
        for stage in record.stages:
            if history := _history(stage.get("facts", {})):
                users, _ = found.setdefault((stage["name"], stage["fingerprint"]), (set(), history))
                users.add(names[folder])
    return [Training(*key, tuple(sorted(users)), history) for key, (users, history) in found.items()]


def learning_figures(found: list[Training], look: Mapping[str, Look]) -> dict[str, Figure]:
    """For every stage that trains, its loss and, where it was measured twice, its AP on the validation images."""
    figures = {}
    for stage in dict.fromkeys(training.stage for training in found):
        chosen = [training for training in found if training.stage == stage]
        for name, draw in (("loss", _loss), ("ap", _precision)):
            figure, axes = new_axes()
            if draw(axes, chosen, look):
                axes.set_title(f"{stage}, {len(chosen)} trained", fontsize=9, loc="left")
                axes.set_xlabel("epoch")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
                if name == "ap":
                    axes.set_ylim(bottom=0)
                used = {_owner(training) for training in chosen}
                handles = [Line2D([], [], color=_colour(o, look), label=o) for o in (*look, SHARED) if o in used]
                handles += [Line2D([], [], color=GREY, ls=line, label=label) for label, line in AP.values()][
                    : 2 * (name == "ap")
                ]
                add_key(figure, handles, [str(handle.get_label()) for handle in handles])
                figures[f"learning_{stage}_{name}"] = figure
    return figures


def _loss(axes: Axes, found: list[Training], look: Mapping[str, Look]) -> bool:
    axes.set_ylabel("training loss at the end of the epoch")
    return sum(_line(axes, training, "loss", "-", look) for training in found) > 0


def _precision(axes: Axes, found: list[Training], look: Mapping[str, Look]) -> bool:
    axes.set_ylabel("AP on the validation images")
    drawn = [_line(axes, training, key, line, look) for training in found for key, (_, line) in AP.items()]
    return sum(drawn) > 0


def _line(axes: Axes, training: Training, key: str, line: str, look: Mapping[str, Look]) -> bool:
    """Whether that was a line, of two epochs at least: a point alone shows no learning."""
    points = [(epoch["epoch"], epoch[key]) for epoch in training.history if epoch.get(key) is not None]
    if points:
        colour, few = _colour(_owner(training), look), len(points) <= 2
        axes.plot(*zip(*points, strict=True), line, color=colour, alpha=0.6, lw=1.1, marker="o" if few else "", ms=4,
                  markerfacecolor="white" if line == "--" else colour,
                  label=f"{_owner(training)}: {key}")  # fmt: skip
    return len(points) > 1


def _owner(training: Training) -> str:
    return training.configurations[0] if len(training.configurations) == 1 else SHARED


def _colour(owner: str, look: Mapping[str, Look]) -> str:
    return look[owner].colour if owner in look else GREY


def _history(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The epochs among the facts of a stage; nothing where there are none, or where they are of another kind."""
    history = facts.get("history")
    return list(_epochs(history)) if isinstance(history, list) else []


def _epochs(history: list[Any]) -> Iterator[dict[str, Any]]:
    yield from (epoch for epoch in history if isinstance(epoch, dict) and "epoch" in epoch)
