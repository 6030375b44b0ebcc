"""A search for a pruning ratio as a table: every run that it made, and the one that it leads to."""

import pandas as pd
from rich.console import Group
from rich.text import Text

from hydra_det.records.objectives import OBJECTIVES, Search, say_goals
from hydra_det.reports.figures.front import on_front
from hydra_det.reports.tables.terminal import ABSENT, new_table

CHOSEN_BY_TEST = (
    "AP of the test images chose the ratio, which flatters the chosen network a little: where that counts, score it on "
    "images of their own."
)


def search_table(search: Search, frame: pd.DataFrame) -> Group:
    """The trials by their ratio, then what to know.

    Args:
        search: from `target.json`.
        frame: the records of its runs, from `records_frame`.
    """
    front = dict(zip(frame["folder"], on_front(frame), strict=True))
    table = new_table(f"target: {say_goals(search['goals'])}")
    table.add_column("ratio", no_wrap=True)
    for name, objective in OBJECTIVES.items():
        style = "bold" if name in search["goals"] else ""
        table.add_column(objective.title.replace("ms", "ms compact").replace("MB", "MB compact"), justify="right",
                         no_wrap=True, style=style)  # fmt: skip
    for heading in ("meets it", "front", "folder"):
        table.add_column(heading, overflow="fold")
    table.add_row("dense", *_cells(search["dense"]), "", "", "", style="dim")
    chosen = None if search["chosen"] is None else search["trials"][search["chosen"]]
    for trial in sorted(search["trials"], key=lambda trial: trial["ratio"]):
        table.add_row(
            f"{trial['ratio']:g}",
            *_cells(trial["values"]),
            "refused" if trial["refused"] else "yes" if trial["meets"] else "no",
            "yes" if front.get(trial["folder"]) else "",
            Text(trial["folder"]),
            style="green" if trial is chosen else "",
        )
    ending = "target not met" if chosen is None else f"ratio {chosen['ratio']:g} ({chosen['folder']})"
    notes = [
        *search["notes"],
        *(f"ratio {trial['ratio']:g} refused: {trial['refused']}" for trial in search["trials"] if trial["refused"]),
        *([CHOSEN_BY_TEST] if {"map_clean", "map_attacked"} & set(search["goals"]) else []),
        "Front: no other run here is as good in AP clean, AP attacked, time and size, and better in one of them.",
    ]
    return Group(
        table,
        Text(ending, style="bold red" if chosen is None else "bold green"),
        *(Text(note, style="dim") for note in notes),
    )


def _cells(values: dict[str, float | None]) -> list[str]:
    return [
        ABSENT if (value := values.get(name)) is None else objective.form.format(value)
        for name, objective in OBJECTIVES.items()
    ]
