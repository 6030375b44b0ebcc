"""How many instants were tried, and what they cost: kills every script again and again, and compares what is left.

python -m tests.faults.bench --kills 25 --seed 0 --out outputs/faults
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults.chains import Tally, kill_until_done
from tests.faults.outcome import differences, outcome
from tests.faults.scenes import COMMANDS, run_all
from tests.faults.warm import Nursery

# Of ten kills; a sweep is where the hours go.
SHARES = {"sweep": 7, "evaluate": 1, "compact": 1, "report": 1}


def bench(nursery: Nursery, folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Run all commands undisturbed, then with kills, in a folder.

    Returns:
        Instants tried, by script and by what was under way; what is not as it was without kills; seconds.
    """
    start = time.monotonic()
    wanted = run_all(nursery, folder / "undisturbed", list(COMMANDS.values()))
    undisturbed = time.monotonic() - start
    instants, tallies = random.Random(seed), {name: Tally() for name in COMMANDS}
    found: list[str] = []
    round_ = 0
    while sum(tally.kills for tally in tallies.values()) < kills:
        round_ += 1
        place = folder / f"round{round_}"
        place.mkdir()
        for name, command in COMMANDS.items():
            share = max(1, round(kills * SHARES[name] / 10) - tallies[name].kills)
            kill_until_done(nursery, place, command, kills=share, instants=instants, tally=tallies[name])
        found += [f"round {round_}: {line}" for line in differences(outcome(place), wanted)]
    tried = sum(tally.kills for tally in tallies.values())
    spent = sum(tally.seconds for tally in tallies.values())
    return {
        "kills": tried,
        "rounds": round_,
        "by_script": {name: tally.kills for name, tally in tallies.items()},
        "by_phase": _summed(tallies.values()),
        "differences": found,
        "compared": len(wanted),
        "seconds_undisturbed": round(undisturbed, 1),
        "seconds_lost_per_kill": round((spent - round_ * undisturbed) / tried, 1),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as tables."""
    rows = [f"| {phase} | {count} |" for phase, count in sorted(figures["by_phase"].items(), key=lambda row: -row[1])]
    return "\n".join([
        "| under way when killed | kills |",
        "|---|---|",
        *rows,
        f"| all | {figures['kills']} |",
        "",
        f"{len(figures['differences'])} differences in {figures['compared']} records, tables and files a round, "
        f"{figures['rounds']} rounds; {figures['seconds_lost_per_kill']} s lost a kill.",
        "",
    ])  # fmt: skip


def _summed(tallies: Any) -> dict[str, int]:
    whole = Tally()
    for tally in tallies:
        for phase, count in tally.phases.items():
            whole.phases[phase] = whole.phases.get(phase, 0) + count
    return whole.phases


def main() -> int:
    """The command line; exit code 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/faults"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
        figures = bench(nursery, Path(folder), kills=asked.kills, seed=asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "faults.json").write_text(json.dumps(figures, indent=2) + "\n")
    (asked.out / "faults.md").write_text(as_markdown(figures))
    sys.stdout.write(as_markdown(figures) + "".join(f"{line}\n" for line in figures["differences"]))
    return int(bool(figures["differences"]))


if __name__ == "__main__":
    sys.exit(main())
