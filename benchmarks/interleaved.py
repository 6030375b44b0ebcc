"""Variants of one thing timed in turns, so that whatever else the machine does falls on all; a table of ratios."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import torch

from benchmarks.gpu_load import gpu_load
from benchmarks.measured import Row
from benchmarks.report import report, save_option

Variants = Mapping[str, Callable[[], object]]
Variant = TypeVar("Variant")

DEVICES = ("cpu", "cuda")


def timing_options(
    description: str | None,
    *,
    rounds: int,
    warmup: int,
    batch: int | None = None,
    model: str | None = "yolov3",
    devices: Sequence[str] = DEVICES,
    table: bool = True,
) -> argparse.ArgumentParser:
    """What every script can be told that times variants of something.

    Args:
        description: the docstring of the script.
        rounds: its default.
        warmup: its default.
        batch: its default; None where the size of the batch is no option.
        model: the default network; None where none is timed.
        devices: that it runs on; the first one is the default.
        table: whether variants are compared in the table of `compare`, some of which can be chosen.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if model is not None:
        parser.add_argument("--model", default=model)
        parser.add_argument("--image-size", type=int, default=416)
    if batch is not None:
        parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--warmup", type=int, default=warmup)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--device", choices=devices, default=devices[0])
    if table:
        parser.add_argument("--only", nargs="*", help="these variants beside the one compared with; all by default")
        save_option(parser)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of the command line, after torch got its threads and the device was found to exist."""
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: expected a GPU for cuda, torch finds none; use --device cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def chosen(variants: Mapping[str, Variant], *, baseline: str, options: argparse.Namespace) -> dict[str, Variant]:
    """Those that `--only` names, and the one that they are compared with; all where it names none."""
    only = options.only or variants
    if unknown := [name for name in only if name not in variants]:
        raise SystemExit(f"--only: expected some of {'; '.join(variants)}; got {'; '.join(unknown)}")
    return {name: variant for name, variant in variants.items() if name == baseline or name in only}


def time_in_turns(
    variants: Variants,
    *,
    rounds: int,
    warmup: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds, by a clock, of every variant in every round; another one goes first in each round."""
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warmup + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = _now(device, clock)
            variants[name]()
            if number >= warmup:
                seconds[name].append(_now(device, clock) - start)
        print(f"round {number + 1} of {warmup + rounds}", end="\r", file=sys.stderr)
    return seconds


def compare(
    title: str,
    variants: Variants,
    *,
    baseline: str,
    options: argparse.Namespace,
    once: Mapping[str, float] = MappingProxyType({}),
    images: int | None = None,
    notes: Sequence[str] = (),
    more: Callable[[str], Row] = lambda name: {},
) -> dict[str, float]:
    """Time variants in turns, print the table and write the file that `--save` names.

    Args:
        title: what is timed; device and rounds are added.
        variants: by name.
        baseline: the name of the one that the others are compared with.
        options: from `timing_options`.
        once: those that are too slow for rounds and are timed once, after the others, with the share of the work that
            they do then, in (0, 1]; their time is reckoned up to all of it.
        images: that go through a variant in one call; on a GPU images a second are told.
        notes: to say under the table.
        more: further columns of a variant, by its name.

    Returns:
        Milliseconds of each, medians.
    """
    device = options.device
    in_turns = {name: run for name, run in variants.items() if name not in once}
    seconds = time_in_turns(in_turns, rounds=options.rounds, warmup=options.warmup, device=device)
    how = [f"Medians of {options.rounds} rounds in turns." if options.rounds > 1 else "One round."]
    for name, share in once.items():
        if name in variants:
            (alone,) = time_in_turns({name: variants[name]}, rounds=1, warmup=0, device=device)[name]
            seconds[name] = [alone / share]
            part = f", with {share:.0%} of the work, and reckoned up to all of it" if share < 1 else ""
            how.append(f"{name}: timed once, after the others{part}.")
    medians = {name: statistics.median(seconds[name]) * 1000 for name in variants}
    rows: list[Row] = []
    for name, run in variants.items():
        row: Row = {"variant": name, "ms": medians[name], "iqr_ms": quartile_range(seconds[name])}
        row["ratio"] = medians[baseline] / medians[name]
        if device == "cuda" and images:
            row["images_per_s"] = images / medians[name] * 1000
        if device == "cuda" and name not in once:
            row.update(gpu_load(run))
        rows.append({**row, **more(name)})
    report(f"{title}, {device}", rows, options=options, baseline=baseline, notes=[*how, *notes])
    return medians


def quartile_range(seconds: Sequence[float]) -> float | None:
    """Interquartile range in ms; of one time there is none."""
    if len(seconds) < 2:
        return None
    low, _, high = quartiles(seconds)
    return (high - low) * 1000


def quartiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median, the upper one; of one time that time itself."""
    if len(seconds) < 2:
        return seconds[0], seconds[0], seconds[0]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, median, high


def _now(device: str, clock: Callable[[], float]) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock()
