"""How does the cost of training and evaluation grow with images, their size, channels, batches, workers and processes?

python -m benchmarks.scaling --save docs/scaling.json                      # all axes: minutes
python -m benchmarks.scaling --axis image_size --rounds 9
python -m benchmarks.scaling --axis image_size width batch_size --device cuda

The values of an axis take turns in one process; only `processes` and `jobs` are whole commands, once each, on the CPU.
A narrow YOLOv3-nano stands for all networks: what is shown is how cost grows, not what a network costs.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.interleaved import parsed, quartiles, time_in_turns, timing_options
from benchmarks.measured_steps import computed_on
from benchmarks.power_law import exponent
from benchmarks.scaling_axes import AXES
from benchmarks.scaling_commands import COMMANDS
from hydra_det.files.atomic import write_atomically


def main() -> None:
    """Measure the axes one after the other; what is measured is written at once."""
    options = _options()
    for name in options.axis:
        found = command(name, options) if name in COMMANDS else in_turns(name, options)
        found |= {
            **computed_on(options.device),
            "cores": os.cpu_count(),
            "command": f"python -m benchmarks.scaling --axis {name} {_how(options)}",
        }
        show(found)
        if options.save:
            earlier = json.loads(options.save.read_text()) if options.save.exists() else {}
            write_atomically(options.save, json.dumps({**earlier, name: found}, indent=1) + "\n")


def in_turns(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """An axis whose values take turns in this process."""
    with tempfile.TemporaryDirectory() as folder:
        axis = AXES[name](options.device, Path(folder))
        steps = {str(value): step for value, step in axis.steps.items()}
        seconds = time_in_turns(steps, rounds=options.rounds, warmup=options.warmup, device=options.device)
    points = [_point(float(value), times) for value, times in seconds.items()]
    return {"label": axis.label, "cost": axis.cost, "points": points, "exponent": _exponent(points, fits=axis.fits)}


def command(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """An axis of whole commands, each once."""
    label, cost, run = COMMANDS[name]
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            own = Path(folder, str(count))
            own.mkdir()
            points.append(_point(count, [run(count, own)]))
    return {"label": label, "cost": cost, "points": points, "exponent": None}


def show(found: Mapping[str, Any]) -> None:
    """Seconds, and the ratio to those of the smallest value."""
    table = Table(title=found["cost"], title_justify="left")
    for column in (found["label"], "ms", "± iqr", "value, times the smallest", "time, times the smallest"):
        table.add_column(column, justify="right")
    first = found["points"][0]
    for point in found["points"]:
        grown = f"{point['value'] / first['value']:.1f}" if first["value"] else ""
        spread = f"{(point['high'] - point['low']) * 1000:.0f}"
        ratio = f"{point['median'] / first['median']:.2f}"
        table.add_row(f"{point['value']:g}", f"{point['median'] * 1000:.0f}", spread, grown, ratio)
    console = Console(width=110)
    console.print(table)
    if found["exponent"] is not None:
        console.print(f"time grows as the value to the power of {found['exponent']:.2f} (1: linear)")
    console.print(f"{found['device']}, {found['threads']} threads, load {found['load']}, torch {found['torch']}")


def _point(value: float, times: Sequence[float]) -> dict[str, float]:
    low, median, high = quartiles(times)
    return {"value": value, "low": round(low, 5), "median": round(median, 5), "high": round(high, 5)}


def _exponent(points: Sequence[Mapping[str, float]], *, fits: bool) -> float | None:
    if not fits:
        return None
    return round(exponent([point["value"] for point in points], [point["median"] for point in points]), 3)


def _how(options: argparse.Namespace) -> str:
    threads = f" --threads {options.threads}" if options.threads else ""
    return f"--device {options.device} --rounds {options.rounds} --warmup {options.warmup}{threads}"


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=5, warmup=1, model=None, table=False)
    names = [*AXES, *COMMANDS]
    parser.add_argument("--axis", nargs="+", choices=names, default=names)
    parser.add_argument("--save", type=Path, help="a JSON file that the axes are added to")
    return parsed(parser)


if __name__ == "__main__":
    main()
