"""Every benchmark of a list, one process after the other, and docs/benchmarks.md anew.

python -m benchmarks.all
python -m benchmarks.all --only attack inference
python -m benchmarks.all --device cuda

The numbers are kept as JSON beside the page, a file a device; with `--only` those of the others stay as they are. A
benchmark that fails, or measures what is not finite, is named on the page with its reason, the others go on, and the
exit code is 1. What each one printed lies in outputs/benchmarks/<device>.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.catalogue import LISTS
from benchmarks.machine import PEERS, ROOT, load, machine, surroundings, versions
from benchmarks.measured import Measured, read_json
from benchmarks.page import numbers_file, write_page
from hydra_det.files.atomic import write_atomically
from hydra_det.records.provenance import current_commit

LONGEST = 900  # seconds that one benchmark may take: something hangs
SCRATCH = ROOT / "outputs" / "benchmarks"  # what each one printed and saved


def main() -> None:
    """Run what the command line names."""
    options = _options()
    if not PEERS.is_dir():
        print(f"{PEERS.name}: not there, so peers take no part unless they are installed; `make bench` gets them")
    failed = run_all(options.device, options.only, folder=options.output)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the reasons are in {options.output / 'benchmarks.md'}")


def run_all(device: str, only: Sequence[str] = (), *, folder: Path) -> list[str]:
    """Run benchmarks of a device; numbers and page are written after each of them.

    Args:
        device: a key of `LISTS`.
        only: their names; all by default.
        folder: of the numbers and the page; numbers of benchmarks that are not run are kept.

    Returns:
        The names of those that failed.
    """
    benchmarks = LISTS[device]
    path = numbers_file(folder, device)
    entries = read_json(path) if path.exists() else {}
    about = {"commit": current_commit(), "machine": machine(), "versions": versions(), "load": load()}
    failed = []
    for name in only or benchmarks:
        print(f"{name}: python -m {benchmarks[name].command}", flush=True)
        entry = run_one(benchmarks[name].command, SCRATCH / device / name)
        entries[name] = {**entry, **about}
        if entry["failed"] is not None:
            failed.append(name)
        print(f"{name}: {entry['seconds']:.0f} s{'' if entry['failed'] is None else ', failed: ' + entry['failed']}")
        write_atomically(path, json.dumps(entries, indent=1, allow_nan=False) + "\n")
        write_page(folder)
    return failed


def run_one(command: str, scratch: Path) -> dict[str, Any]:
    """A command behind `python -m` in a process of its own: what it measured, or why it failed.

    Args:
        command: of a benchmark.
        scratch: path without ending, for what it prints and what it saves.
    """
    log, saved = scratch.with_suffix(".log"), scratch.with_suffix(".json")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    saved.unlink(missing_ok=True)
    words = [sys.executable, "-m", *shlex.split(command), "--save", str(saved)]
    date, start = datetime.now(UTC).strftime("%Y-%m-%d"), time.perf_counter()
    measured, failed = None, None
    try:
        with log.open("w", encoding="utf-8") as output:
            subprocess.run(
                words, cwd=ROOT, env=surroundings(), stdout=output, stderr=output, check=True, timeout=LONGEST
            )
        measured = asdict(Measured.read(saved))
    except subprocess.TimeoutExpired:
        failed = f"not done after {LONGEST} s"
    except subprocess.CalledProcessError as error:  # below 0 it is the signal that ended it, -9 where memory ran out
        failed = f"{_last_line(log)} (exit code {error.returncode})"
    except (OSError, TypeError, ValueError) as error:
        failed = f"no result to read: {error}"
    return {
        "command": f"python -m {command}",
        "date": date,
        "seconds": time.perf_counter() - start,
        "measured": measured,
        "failed": failed,
    }


def _last_line(log: Path) -> str:
    """What a program said last, which is the error where it ended with one."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "without a word")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=LISTS, default="cpu")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="run these; the numbers of others stay")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the page and the numbers")
    options = parser.parse_args()
    # Before numbers of a GPU are replaced by failures.
    if options.device == "cuda" and shutil.which("nvidia-smi") is None:
        parser.error("--device: expected a machine with a GPU for cuda, found no nvidia-smi")
    listed = LISTS[options.device]
    if unknown := [name for name in options.only if name not in listed]:
        parser.error(f"--only: no {', '.join(unknown)} on {options.device}; there are {', '.join(listed)}")
    return options


if __name__ == "__main__":
    main()
