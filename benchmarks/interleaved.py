"""Variants of one thing timed in turns, so that whatever else the machine does falls on all; a table of ratios."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from rich.console import Console
from rich.table import Table


def timing_options(description: str | None, *, rounds: int, warmup: int) -> argparse.ArgumentParser:
    """What every script can be told that times variants of a network."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov3")
    parser.add_argument("--image-size", type=int, default=416)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--warmup", type=int, default=warmup)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--only", nargs="*", help="these variants beside the one compared with; all by default")
    return parser


def time_in_turns(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of every variant in every round; another one goes first in each round."""
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = _now(device)
            variants[name]()
            if number >= warmup:
                seconds[name].append(_now(device) - start)
        print(f"round {number + 1} of {warmup + rounds}", end="\r", file=sys.stderr)
    return seconds


def show(title: str, seconds: Mapping[str, list[float]], *, baseline: str) -> None:
    """Median and interquartile range of each variant, and the baseline's median over its own."""
    table = Table(title=title, title_justify="left")
    for column in ("variant", "ms", "± iqr", f"times as fast as {baseline}"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    reference = statistics.median(seconds[baseline])
    for name, times in seconds.items():
        median = statistics.median(times)
        low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else (median,) * 3
        table.add_row(name, f"{median * 1000:.0f}", f"{(high - low) * 1000:.0f}", f"{reference / median:.2f}")
    console = Console(width=100)
    console.print(table)
    rounds = len(seconds[baseline])
    console.print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {rounds} rounds in turns")


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
