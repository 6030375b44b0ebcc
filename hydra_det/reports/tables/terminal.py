"""Tables for the terminal: one run, an attack on one network, a sweep of runs. All but `show` print nothing."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hydra_det.files.atomic import write_atomically
from hydra_det.records.record import Attack, NetworkMetrics, Record, nms_confidence
from hydra_det.reports.statistics.gains import from_confidence
from hydra_det.reports.tables.networks import ABSENT, PRECISION_ROWS, network_rows, number, precision, share

# Whose networks the engine `sparse` computes, by their classes.
IN_SPARSE = ("hydra_det.modules.yolo.", "hydra_det.modules.darknet.")
_CHOICES = ("granularity", "init", "seed")  # what a sweep varies besides the ratio, which shows as sparsity


def show(content: RenderableType) -> None:
    """Print to the terminal; to a file or a pipe in 110 columns."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    console.print(content)


def run_table(record: Record) -> Group:
    """One run: its stages with their time, then the dense and the pruned network side by side, then what to know."""
    notes = [Text(note, style="dim") for note in _notes(record)]
    return Group(_stages(record), Text(), _networks(record), *notes)


def attack_table(metrics: NetworkMetrics, attack: Attack, *, title: str) -> Group:
    """One network under one attack: the two protocols, clean beside attacked."""
    table = new_table(title)
    table.add_column("", no_wrap=True)
    for heading in ("clean", "attacked", "attacked / clean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, read in PRECISION_ROWS:
        clean, attacked = (
            read(protocols) if protocols else None for protocols in (metrics["clean"], metrics["attacked"])
        )
        row = (precision(protocols, read) for protocols in (metrics["clean"], metrics["attacked"]))
        table.add_row(" ".join(name.format("").split()).replace(" ,", ","), *row, share(clean, attacked))
    threat = "Not attacked." if metrics["attacked"] is None else threat_in_words(attack)
    return Group(table, Text(threat, style="dim"))


def sweep_table(frame: pd.DataFrame, failures: Mapping[str, str]) -> Group:
    """A sweep, a line a job.

    Args:
        frame: The finished jobs, from `records_frame`.
        failures: One-line reason of every failed job, by its name.
    """
    parts: list[RenderableType] = [_finished(frame)]
    if failures:
        parts += [Text(), _failed(failures)]
    return Group(*parts)


def data_tables(name: str, findings: Mapping[str, Mapping[str, Any]], shared: Sequence[str]) -> Group:
    """What the splits of a data set hold, their classes, what was found by kind, and a line for every problem.

    Args:
        name: Of the data set.
        findings: The fields of `hydra_det.data.doctor.Findings`, by split.
        shared: A line for every image that is in two splits.
    """
    splits = list(findings)
    counts, classes = new_table(f"{name} · splits"), new_table(f"{name} · objects by class")
    for table in (counts, classes):
        table.add_column("", overflow="fold")
        for split in splits:
            table.add_column(split, justify="right", no_wrap=True)
    for label, key in (
        ("images", "images"),
        ("without objects", "empty"),
        ("objects", "boxes"),
        ("regions not scored", "crowds"),
    ):
        counts.add_row(label, *(f"{findings[split][key]:,}" for split in splits))
    for size, bound in (("small", "below 32²"), ("medium", "below 96²"), ("large", "the others")):
        label = f"{size} objects, {bound} px"
        counts.add_row(label, *(f"{findings[split]['sizes'][size]:,}" for split in splits))
    for label, side in (("width of images, px", 0), ("height of images, px", 1)):
        counts.add_row(label, *("{} to {}".format(*findings[split]["sides"][side]) for split in splits))
    for kind in findings[splits[0]]["classes"]:
        classes.add_row(Text(kind), *(f"{findings[split]['classes'][kind]:,}" for split in splits))
    lines = [f"{split}: {problem}" for split in splits for problem in findings[split]["problems"]]
    lines += [f"in two splits: {line}" for line in shared]
    title = Text(f"problems: {len(lines) or 'none'}", style="bold red" if lines else "bold green")
    kinds = [Text(f"{split}: {text}", style="bold") for split in splits for text in findings[split]["kinds"]]
    return Group(counts, Text(), classes, Text(), title, *kinds, *(Text(line) for line in lines))


def write_summary_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """The frame as CSV, full precision, empty cells for what was not measured; whole or not at all."""
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n"))


def new_table(title: str) -> Table:
    """An empty table in the style of all tables here."""
    # Names come as Text everywhere: Rich would read the brackets in a plain string as markup.
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _stages(record: Record) -> Table:
    table = new_table(f"{record.name} · stages")
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold", style="dim")
    for stage in record.stages:
        origin = Text("reused", style="dim") if stage["reused"] else Text("trained", style="green")
        table.add_row(Text(stage["name"]), origin, _duration(stage["seconds"]), Text(stage["folder"]))
    table.add_section()
    spent = sum(stage["seconds"] for stage in record.stages if not stage["reused"])
    table.add_row("this run", "", _duration(spent), "", style="bold")
    return table


def _networks(record: Record) -> Table:
    table = new_table(
        f"{record.name} · networks, on {record.dataset['test']:,} test images of {record.dataset['name']}"
    )
    table.add_column("", no_wrap=True)
    for heading in ("dense", "pruned", "pruned / dense"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, rows in groupby(network_rows(record), key=lambda row: row.part):
        for row in rows:
            table.add_row(row.name, *row.cells)
        table.add_section()
    return table


def _notes(record: Record) -> Iterator[str]:
    """What a reader must know before comparing the numbers above with others."""
    attack = record.attack
    if any(network["attacked"] for network in (record.metrics["dense"], record.metrics["pruned"])):
        yield threat_in_words(attack)
    for latency in list(record.latency.values())[:1]:
        height, width = latency["image_size"]
        yield (
            f"Time: median ± interquartile range of {latency['repeats']} repeats, batch {latency['batch_size']}, "
            f"{width} x {height} px, {latency['dtype']}, {latency['device_name']}, {latency['threads']} CPU threads. "
            f"{from_confidence([nms_confidence(latency)])}"
        )
    if record.sparsity["granularity"] == "kernel":
        shapes = [layer["shape"] for layer in record.sparsity["layers"]]
        single = sum(shape[-2:] == [1, 1] for shape in shapes)
        yield f"In {single} of {len(shapes)} masked layers the kernels are 1 x 1: there a kernel is one weight."
    if record.sparsity["ratio_asked"] > 0:
        sparse = record.config.get("model", {}).get("_target_", IN_SPARSE[0]).startswith(IN_SPARSE)
        yield (
            "Masks alone give no speed in torch: a masked network costs as much as the dense one. "
            + (
                "The compact one is what is left when all is removed that the masks leave without use."
                + (" The engine `sparse` leaves single zeros out (compact.py engines=[sparse])." if sparse else "")
                if "compact" in record.sizes
                else "Nothing compact could be made of this one; the log says why."
            )
        )


def threat_in_words(attack: Attack) -> str:
    """The threat model in words."""
    if attack.get("kind"):
        return f"Corrupted, not attacked: {attack['kind']}, severity {attack['severity']} of 5."
    if attack.get("norm") == "l2":
        detail = [f"L2, epsilon {attack['epsilon']:.4g}"]
    else:
        detail = [f"L-infinity, epsilon {attack['epsilon']:.4g} ({attack['epsilon'] * 255:.4g}/255)"]
    detail += [f"step size {attack['step_size']:.4g}"] if attack.get("step_size") else []
    detail += [f"{attack['steps']} steps"] if attack.get("steps") else []
    detail += [f"{attack['restarts']} tries"] if (attack.get("restarts") or 1) > 1 else []
    detail += [f"objective {attack['objective']}"] if attack.get("objective", "total") not in ("total", None) else []
    detail += [f"from where {attack['start']} ended"] if attack.get("start") else []
    detail += ["padding included"] if attack.get("padding") else []
    return f"Attacked: {attack['name']}, {', '.join(detail)}."


def _finished(frame: pd.DataFrame) -> Table:
    """The finished jobs; a choice that is the same in all of them stands once, in the title."""
    same = [column for column in _CHOICES if frame[column].nunique(dropna=False) == 1]
    varied = [column for column in _CHOICES if column not in same]
    table = new_table(" · ".join([f"{len(frame)} finished", *(f"{column} {frame[column].iloc[0]}" for column in same)]))
    table.add_column("run", overflow="fold", min_width=10)
    for column in varied:
        table.add_column("units" if column == "granularity" else column, overflow="fold")
    for heading in ("sparsity", "AP clean", "AP attacked", "ms an image", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in frame.to_dict("records"):
        table.add_row(
            Text(row["varied"] or row["folder"]),
            *(Text(ABSENT if pd.isna(row[column]) else str(row[column])) for column in varied),
            number(row["sparsity"], "{:.3f}"),
            _pair(row["map_clean_dense"], row["map_clean_pruned"]),
            _pair(row["map_attacked_dense"], row["map_attacked_pruned"]),
            _pair(row["total_ms_dense"], row["total_ms_pruned"], "{:.1f}"),
            _duration(row["seconds"]),
        )
    if len(frame):
        table.caption = Text(
            "Dense → pruned; milliseconds compare within a row, not between rows. Time: of the stages that were run, "
            "not of those found finished."
        )
        table.caption_justify = "left"
    return table


def _failed(failures: Mapping[str, str]) -> Table:
    table = new_table(f"{len(failures)} failed")
    table.add_column("run", overflow="fold", style="red")
    table.add_column("reason", overflow="fold")
    for name, reason in failures.items():
        table.add_row(Text(name), Text(reason))
    return table


def _pair(before: float, after: float, form: str = "{:.3f}") -> str:
    """'before → after', or one dash where neither was measured."""
    if pd.isna(before) and pd.isna(after):
        return ABSENT
    return " → ".join(number(value, form) for value in (before, after))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
