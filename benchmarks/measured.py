"""What a benchmark measured: a table for the eye, and a file from which docs/benchmarks.md is made."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from hydra_det.atomic import write_atomically
from hydra_det.evaluation.latency import device_name

Value = str | int | float | None
Row = dict[str, Value]

# Headings of the columns that many benchmarks have; other keys of a row are their own headings.
HEADS = {
    "ms": "ms",
    "iqr_ms": "± iqr",
    "ratio": "times as fast as {baseline}",
    "images_per_s": "images/s",
    "peak_mib": "peak memory, MiB",
    "gpu_percent": "GPU busy, %",
}


@dataclass(frozen=True)
class Measured:
    """One table.

    Attributes:
        title: what was timed, with its sizes.
        rows: one for every variant; their keys are the columns.
        baseline: the variant that `ratio` compares with, if there is that column.
        notes: sentences made from the numbers.
        settings: of the command line.
        device: the product name of the processor that computed.
        threads: of torch, on the CPU.
        torch: its version.
    """

    title: str
    rows: Sequence[Row]
    baseline: str | None = None
    notes: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = field(default_factory=lambda: device_name(torch.device("cpu")))
    threads: int = field(default_factory=torch.get_num_threads)
    torch: str = torch.__version__

    def table(self) -> list[list[str]]:
        """The headings, and the cells of every row under them."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        heads = [HEADS.get(key, key).format(baseline=self.baseline) for key in keys]
        return [heads, *([cell(row.get(key)) for key in keys] for row in self.rows)]

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """From a file that `report` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def report(measured: Measured, save: Path | None) -> None:
    """Print the table, and write the file where one is wanted."""
    heads, *rows = measured.table()
    table = Table(title=measured.title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(width=140)
    console.print(table)
    for note in (*measured.notes, f"{measured.device}, {measured.threads} threads, torch {measured.torch}"):
        console.print(note, markup=False, highlight=False)
    if save is not None:
        write_atomically(save, json.dumps(asdict(measured), indent=1) + "\n")


def cell(value: Value) -> str:
    """A number to three digits; nothing where nothing was measured."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def save_option(parser: argparse.ArgumentParser) -> None:
    """Every benchmark can write what it measured."""
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was measured as JSON")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Options of a command line as they go into the file, without the file itself."""
    return {key: value for key, value in vars(options).items() if key != "save"}
