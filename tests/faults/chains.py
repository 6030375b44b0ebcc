"""The same command again and again, disturbed every time until it gets through: what it leaves has to be the same."""

import random
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.hook import Fault
from tests.faults.scenes import Command
from tests.faults.warm import Nursery, Process

# What is under way after an event, by the path that it was about.
PHASES = {
    r"/shapes/": "drawing pictures",
    r"/store/(?:\.locks/)?(pretrain|init_scores|train_scores|prune|finetune)-": "{}",
    r"/store/(?:\.locks/)?evaluate-": "evaluation",
    r"/(?:dense|pruned)$": "evaluation and latency",
    r"/stages/": "between stages",
    r"/(?:record\.json|logs/|\.record\.json)": "record",
    r"/summary\.csv|/\.summary": "summary of a sweep",
    r"/compact": "compact.py",
    r"/report/": "report.py",
    r"/evaluated/": "evaluate.py",
}


BEGUN = {"train": "shapes: ", "compact": "shapes: "}  # what a job says when it begins


@dataclass
class Tally:
    """What was tried.

    Attributes:
        phases: number of kills by what was under way.
        seconds: that all starts of a command took together, kills included.
        starts: number of starts.
    """

    phases: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    starts: int = 0

    @property
    def kills(self) -> int:
        """Number of processes that were killed."""
        return sum(self.phases.values())

    def add(self, phase: str) -> None:
        """Count a kill."""
        self.phases[phase] = self.phases.get(phase, 0) + 1


def kill_until_done(
    nursery: Nursery, folder: Path, command: Command, *, kills: int, instants: random.Random, tally: Tally,
    seconds: float = 8.0, events: int = 50,
) -> None:  # fmt: skip
    """Start a command, kill it at a random instant, start it again; after so many kills let it come to its end.

    A third of the instants are a time after the start of the job, a third an event below the folder, and a third one in
    the store, so that the long way to the first stage does not take them all.

    Args:
        nursery: that starts it.
        folder: that it runs in.
        command: script and words.
        kills: at most so many; a command that gets through before is done.
        instants: draws the instants.
        tally: what was tried is added to it.
        seconds: a start lives at most so long.
        events: or until so many events.
    """
    start = time.monotonic()
    for _ in range(kills):
        tally.starts += 1
        last = folder / "last_event.txt"
        last.unlink(missing_ok=True)
        way = instants.choice(("time", ".", "store"))
        event, later = instants.randint(1, events), instants.uniform(0.0, seconds)
        place = folder if way == "time" else folder / way
        fault = Fault(str(place), event=0 if way == "time" else event, count=str(last))
        process = nursery.start(folder, *command, fault)
        code = _killed_after(process, later, begun=BEGUN.get(command[0], "")) if way == "time" else process.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"exit code {code}, and it said\n{process.said}"
        tally.add(phase_of(last.read_text() if last.is_file() else "", command[0]))
    tally.starts += 1
    process = nursery.start(folder, *command)
    assert process.wait() == 0, process.said
    tally.seconds += time.monotonic() - start


def phase_of(event: str, script: str) -> str:
    """What was under way after an event, as it stands in the file of a fault."""
    for pattern, name in PHASES.items():
        if found := re.search(pattern, event):
            return name.format(*found.groups())
    return f"start of {script}.py"


def _killed_after(process: Process, seconds: float, *, begun: str) -> int:
    while begun not in process.said and process.running():
        time.sleep(0.01)
    end = time.monotonic() + seconds
    while process.running() and time.monotonic() < end:
        time.sleep(0.01)
    if process.running():
        process.signal(signal.SIGKILL)
    return process.wait()
