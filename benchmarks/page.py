"""docs/benchmarks.md from the numbers of the devices; every sentence about a result is made from them.

python -m benchmarks.page                   # after a change of this file; `benchmarks.all` does it by itself
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue import LISTS, Benchmark
from benchmarks.machine import ROOT
from benchmarks.measured import Measured, Row, cell, read_json
from hydra_det.files.atomic import write_atomically

Entry = Mapping[str, Any]  # of one benchmark, as `benchmarks.all` keeps it

HEADINGS = {"cpu": "On a CPU", "cuda": "On a GPU"}
INTRODUCTION = """# Benchmarks

    make bench                                         # all of them on the CPU
    python -m benchmarks.all --only attack inference   # some; the others keep their numbers
    python -m benchmarks.all --device cuda             # on a machine with a GPU

These commands wrote this page: change `benchmarks/` in its place. Every benchmark is a command of its own. Where a
table has *± iqr*, the interquartile range of the rounds in ms, its variants took turns in one process for several
rounds, so that what else the machine did fell on all of them; a difference that is not larger tells nothing. A row
without it was measured once, perhaps while the machine was busy, unless the line below its table says otherwise.
Compare times within a table, not across tables. Networks have random weights and see images of noise: neither changes
how long a convolution takes. Packages that are only compared with come from `.peers`, where `make bench` puts them; for
a command by hand, `export PYTHONPATH=.peers`.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the page and the numbers")
    write_page(parser.parse_args().output)


def numbers_file(folder: Path, device: str) -> Path:
    """Where the numbers of a device lie."""
    return folder / f"benchmarks_{device}.json"


def write_page(folder: Path) -> None:
    """From the files of numbers in a folder."""
    numbers = {}
    for device in LISTS:
        path = numbers_file(folder, device)
        if path.exists():
            numbers[device] = read_json(path)
    write_atomically(folder / "benchmarks.md", page(numbers))


def page(numbers: Mapping[str, Mapping[str, Entry]]) -> str:
    """The page, of the entries of every device by name; those whose benchmark is no longer listed are left out."""
    lines = [INTRODUCTION.rstrip()]
    for device, listed in LISTS.items():
        entries = {name: numbers[device][name] for name in listed if name in numbers.get(device, {})}
        if entries:
            lines += ["", f"## {HEADINGS[device]}", "", *_device(entries, listed)]
    return "\n".join(lines) + "\n"


def _device(entries: Mapping[str, Entry], listed: Mapping[str, Benchmark]) -> Iterator[str]:
    """What they ran on, the results at a glance, and a section for each."""
    usual = max(entries.values(), key=lambda entry: entry["date"])  # the first of the last day
    minutes = sum(entry["seconds"] for entry in entries.values()) / 60
    yield from _surroundings(usual)
    yield ""
    yield (
        f"{len(entries)} of {len(listed)} benchmarks, {minutes:.1f} minutes in all. Those that are no ratio of times "
        "have their tables below."
    )
    if failed := [name for name, entry in entries.items() if entry["failed"] is not None]:
        yield f"**Failed: {', '.join(failed)}.**"
    compared = [
        (listed[name].question, Measured(**entry["measured"])) for name, entry in entries.items() if _has_ratio(entry)
    ]
    if compared:
        yield ""
        yield from _table([
            ["", "compared with", "fastest, times as fast", "slowest, times as fast"],
            *([question, *_glance(measured)] for question, measured in compared),
        ])  # fmt: skip
    for name, entry in entries.items():
        yield from ["", f"### {listed[name].question}", "", listed[name].compares, ""]
        yield from _section(entry)
        yield from [
            "",
            f"    {entry['command']}",
            "",
            f"{entry['date']}, commit {_short(entry['commit'])}, {entry['seconds']:.0f} s.",
        ]
        if any(entry[key] != usual[key] for key in ("machine", "versions")):
            yield from ["", "On another machine, or with other versions:", "", *_surroundings(entry)]


def _section(entry: Entry) -> Iterator[str]:
    """The table and its notes, or why there is none."""
    if entry["failed"] is not None:
        yield f"**Failed**: `{entry['failed']}`"
        return
    measured = Measured(**entry["measured"])
    yield f"{measured.title}; {measured.device}, {measured.threads} threads."
    yield ""
    yield from _table(measured.cells())
    yield from ["", " ".join(measured.notes)] if measured.notes else []


def _surroundings(entry: Entry) -> Iterator[str]:
    """Machine and versions."""
    yield from _table([
        ["", ""],
        *([key, value] for key, value in entry["machine"].items()),
        ["versions", ", ".join(f"{name} {version}" for name, version in entry["versions"].items())],
        ["load before the first one", entry.get("load", "not noted")],
        ["date and commit", f"{entry['date']}, {_short(entry['commit'])}"],
    ])  # fmt: skip


def _has_ratio(entry: Entry) -> bool:
    return entry["failed"] is None and entry["measured"]["baseline"] is not None


def _glance(measured: Measured) -> list[str]:
    """The baseline, and the fastest and the slowest of the others."""
    base, others = None, []
    for row in measured.rows:
        if row["variant"] == measured.baseline:
            base = row
        else:
            others.append(row)
    assert base is not None, f"{measured.title}: no row for {measured.baseline}"
    others.sort(key=_ratio, reverse=True)
    ends = [_told_apart(row, base) for row in ([others[0], others[-1]] if len(others) > 1 else others)]
    return [f"{measured.baseline}, {cell(base['ms'])} ms", *ends, *[""] * (2 - len(ends))]


def _told_apart(row: Row, base: Row) -> str:
    """A variant with its ratio, and a mark where the rounds do not tell it from the baseline."""
    ranges = [_number(each["iqr_ms"]) for each in (row, base) if each.get("iqr_ms") is not None]
    mark = ""
    if len(ranges) < 2:
        mark = " (timed once)"
    elif abs(_number(row["ms"]) - _number(base["ms"])) <= max(ranges):
        mark = " (within the spread)"
    return f"{row['variant']}: {cell(row['ratio'])}{mark}"


def _ratio(row: Row) -> float:
    return _number(row["ratio"])


def _number(value: Any) -> float:
    return float(value)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown; columns of numbers are flush right."""
    head, *body = rows
    columns = list(zip(*body, strict=True))
    numbers = [all(text[:1].isdigit() for text in column if text) and any(column) for column in columns]
    for cells in (head, ["---:" if number else "---" for number in numbers], *body):
        yield f"| {' | '.join(cells)} |"


def _short(commit: str | None) -> str:
    """A hash as one reads it; that tracked files differed stays visible."""
    if commit is None:
        return "unknown"
    known, _, changed = commit.partition("-")
    return known[:10] + (" with changes" if changed else "")


if __name__ == "__main__":
    main()
