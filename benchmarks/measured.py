"""What a benchmark measured: one table, as it is shown, kept as JSON and put into docs/benchmarks.md."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra_det.files.atomic import write_atomically

Value = str | int | float | None
Row = dict[str, Value]

# Headings of the columns that many benchmarks have; other keys of a row are their own headings.
HEADS = {
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
        title: what was measured, with its sizes.
        rows: mostly one a variant; their keys are the columns, see `HEADS`.
        baseline: the variant that `ratio` compares with, where there is that column.
        notes: sentences made from the numbers.
        settings: of the command line.
        device: the product name of the processor that computed.
        threads: of torch on the CPU.
        torch: its version.
    """

    title: str
    rows: Sequence[Row]
    baseline: str | None
    notes: Sequence[str]
    settings: Mapping[str, Any]
    device: str
    threads: int
    torch: str

    def cells(self) -> list[list[str]]:
        """The headings, and under them the cells of every row."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        heads = [HEADS.get(key, key).format(baseline=self.baseline) for key in keys]
        return [heads, *([cell(row.get(key)) for key in keys] for row in self.rows)]

    def save(self, path: Path) -> None:
        """As JSON.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        for row in self.rows:
            for key, value in row.items():
                if isinstance(value, float) and not math.isfinite(value):
                    about = f"{value} as {key} of {next(iter(row.values()))}"
                    raise ValueError(f"{self.title}: expected finite numbers, got {about}")
        write_atomically(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """From a file that `save` wrote."""
        return cls(**read_json(path))


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        ValueError: it is no JSON, or a number is NaN or infinite, which only Python takes for JSON.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{path}: expected finite numbers, got {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def cell(value: Value) -> str:
    """A number to three digits; nothing where nothing was measured."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value
