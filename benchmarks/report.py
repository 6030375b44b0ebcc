"""How a benchmark says what it measured: a table in the terminal, and a file with `--save`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measured import Measured, Row
from hydra_det.evaluation.latency import device_name


def save_option(parser: argparse.ArgumentParser) -> None:
    """What every benchmark can be told."""
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was measured as JSON")


def report(
    title: str,
    rows: Sequence[Row],
    *,
    options: argparse.Namespace,
    baseline: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print a table, and write the file that `--save` names.

    Args:
        title: what was measured, with its sizes.
        rows: see `Measured`, also for the others.
        options: the command line.
        baseline: the variant that `ratio` compares with.
        notes: sentences for below the table.
    """
    measured = Measured(
        title=title,
        rows=rows,
        baseline=baseline,
        notes=notes,
        settings={key: value for key, value in vars(options).items() if key != "save"},
        device=device_name(torch.device(getattr(options, "device", "cpu"))),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    heads, *body = measured.cells()
    table = Table()
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in body:
        table.add_row(*row)
    console = Console(width=140)
    console.print(title, markup=False, highlight=False)
    console.print(table)
    for note in (*notes, f"{measured.device}, {measured.threads} threads, torch {measured.torch}"):
        console.print(note, markup=False, highlight=False)
    if options.save is not None:
        measured.save(options.save)
