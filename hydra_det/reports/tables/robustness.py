"""A network under a suite of attacks: tables for the terminal and a picture."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hydra_det.records.record import Protocols
from hydra_det.records.robustness import Alarm, Robustness, SuiteAttack, suite_name
from hydra_det.reports.tables.corruptions import corruption_table, draw_corruptions
from hydra_det.reports.tables.terminal import ABSENT, new_table

SIZES = (("AP small", "map_small"), ("AP medium", "map_medium"), ("AP large", "map_large"))
HEADINGS = (("AP", "map"), ("AP50", "map_50"), ("AP75", "map_75"), *SIZES)
WORST = "worst case ≤"  # a stronger attack may leave less
COLOURS = {"clean": "#8c8c8c", "attacked": "#2a6f97", "combined": "#c1666b"}


def cost_table(seconds: Mapping[str, float]) -> Table:
    """What a suite will take, before it runs; attacks that are in the store already take nothing."""
    table = new_table("at the most")
    table.add_column("attack", no_wrap=True)
    table.add_column("minutes", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value / 60:.1f}")
    table.add_row(Text("all", style="bold"), f"{sum(seconds.values()) / 60:.1f}")
    return table


def suite_table(found: Robustness, *, title: str) -> Group:
    """AP under every attack, in the order of the suite, then of the worst case; then the alarms and what to know."""
    if found["epsilon"] is None:
        return corruption_table(found, title=title)
    padding = ", padding included" if found.get("padding") else ""
    table = new_table(f"{title} · suite {suite_name(found)}, {found['images']} images{padding}")
    table.add_column("", overflow="fold")
    for heading, _ in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    counted = found["combined"] is not None
    if counted:
        table.add_column("chosen for", justify="right", no_wrap=True)
    table.add_row("clean", *_precision(found["clean"]))
    for entry in found["attacks"]:
        table.add_row(
            _name(entry, found), *_precision(entry["metrics"]), *([str(entry["worst_for"])] if counted else [])
        )
    notes = [Text(_alarm(alarm), style=_style(alarm)) for alarm in found["alarms"]]
    if found["combined"] is not None:
        table.add_row(Text(WORST, style="bold"), *_precision(found["combined"]))
        robust = "not defined" if found["robust_map"] is None else f"at most {found['robust_map']:.3f}"
        epsilon = f"{found['epsilon']:.4g} ({found['epsilon'] * 255:.4g}/255)"
        notes.insert(
            0,
            Text(
                f"Robust AP in the L-infinity ball of {epsilon}{padding}: {robust}, that of the worst case.",
                style="bold",
            ),
        )
    return Group(table, *notes)


def draw_robustness(found: Robustness, path: Path, *, axis: str | None) -> None:
    """A PNG: AP50 by attack, or along the axis that the suite varies; beside it the loss along a walk in the ball."""
    if found["epsilon"] is None:
        draw_corruptions(found, path)
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    clean = found["clean"]["coco"]["map_50"] or 0.0
    if axis not in ("epsilon", "steps"):  # nothing rises from attack to attack
        _bars(left, found, clean)
    else:
        scale = 255 if axis == "epsilon" else 1
        at = [float(entry["attack"][axis] or 0) * scale for entry in found["attacks"]]  # type: ignore[literal-required]
        values = [entry["metrics"]["coco"]["map_50"] or 0.0 for entry in found["attacks"]]
        left.axhline(clean, color=COLOURS["clean"], linestyle="--", label="clean")
        left.plot(at, values, "-o", color=COLOURS["attacked"], label="attacked")
        left.set_xscale("symlog", linthresh=1)
        left.set_xticks(at, [f"{value:g}" for value in at])
        left.minorticks_off()
        left.set_xlabel("epsilon x 255" if axis == "epsilon" else "steps")
        left.legend(frameon=False)
    left.set_ylabel("AP50")
    left.set_ylim(bottom=0)
    right.plot(range(len(found["curve"])), found["curve"], "-o", color=COLOURS["attacked"], markersize=4)
    right.set_xlabel(
        f"steps of {found['epsilon'] / max(1, len(found['curve']) - 1):.2g} along the sign of the gradient"
    )
    right.set_ylabel("mean loss")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def _bars(axes: Axes, found: Robustness, clean: float) -> None:
    names = ["clean", *(entry["name"] for entry in found["attacks"])]
    values = [clean, *(entry["metrics"]["coco"]["map_50"] or 0.0 for entry in found["attacks"])]
    colours = [COLOURS["clean"], *[COLOURS["attacked"]] * len(found["attacks"])]
    if found["combined"] is not None:
        names, colours = [*names, WORST], [*colours, COLOURS["combined"]]
        values = [*values, found["combined"]["coco"]["map_50"] or 0.0]
    axes.bar_label(axes.bar(names, values, color=colours), fmt="%.2f", fontsize=8)
    axes.tick_params(axis="x", rotation=60)


def _name(entry: SuiteAttack, found: Robustness) -> str:
    """Of an attack; one that is kept out of the worst case says why."""
    attack = entry["attack"]
    larger = attack["epsilon"] > (found["epsilon"] or 0) or (attack.get("norm") or "linf") != "linf"
    wider = attack.get("padding") and not found.get("padding")
    why = [word for word, holds in (("beyond the ball", larger), ("padding too", wider)) if holds]
    return f"{entry['name']} ({', '.join(why)})" if why else entry["name"]


def _precision(protocols: Protocols) -> list[str]:
    values = [protocols["coco"][key] for _, key in HEADINGS]  # type: ignore[literal-required]
    return [ABSENT if value is None else f"{value:.3f}" for value in values]


def _alarm(alarm: Alarm) -> str:
    if alarm["figure"] is None:
        return f"not checked: {alarm['name']} (the suite holds no attack that would tell)"
    state = "ALARM" if alarm["raised"] else "quiet"
    return f"{state}: {alarm['name']}: {alarm['figure']:+.3f} {alarm['meaning']}; limit {alarm['limit']:g}"


def _style(alarm: Alarm) -> str:
    return "bold red" if alarm["raised"] else "dim"
