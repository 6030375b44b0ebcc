"""The commands that faults are tried on: every script that leaves results, from nothing to a report."""

from collections.abc import Sequence
from pathlib import Path

from tests.faults.hook import Fault
from tests.faults.outcome import outcome
from tests.faults.warm import Nursery, Process
from tests.pipeline.tiny import OVERRIDES

# Relative, so that what was typed and where results lie is the same in every folder.
PLACES = ["data.root=shapes", "store=store"]
RUN = ["init=deeplift", "init.images=4", "stage.pretrain.epochs=3", "evaluation.bootstrap=10"]
ONE = [*OVERRIDES, *PLACES, *RUN, "hydra.run.dir=run"]
SWEEP = ["-m", *OVERRIDES, *PLACES, *RUN, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=r${prune.ratio}_s${seed}"]
SMALL_TIMES = ["latency.batch_sizes=[1]", "latency.images=1", "latency.warmup=1", "latency.repeats=2"]

Command = tuple[str, list[str]]
COMMANDS: dict[str, Command] = {
    "sweep": ("train", [*SWEEP, "prune.ratio=0.5,0.75", "seed=0,1"]),
    "evaluate": ("evaluate", ["run=sweep/r0.5_s0", "attack=pgd", "attack.steps=3", "hydra.run.dir=evaluated"]),
    "compact": (
        "compact",
        ["run=sweep/r0.75_s0", "engines=[torch]", "calibration_images=4", *SMALL_TIMES, "hydra.run.dir=compacted"],
    ),
    "report": ("report", ["runs=sweep", "hydra.run.dir=report"]),
}


def run_all(nursery: Nursery, folder: Path, commands: Sequence[Command]) -> dict[str, object]:
    """What commands come to that nothing disturbs."""
    folder.mkdir(parents=True)
    for name, words in commands:
        succeed(nursery.start(folder, name, words))
    return outcome(folder)


def count_events(nursery: Nursery, folder: Path, command: Command) -> int:
    """How many events of the file system a command has that nothing disturbs."""
    count = folder / "count.txt"
    succeed(nursery.start(folder, *command, Fault(str(folder), count=str(count))))
    return int(count.read_text().split()[0])


def succeed(process: Process) -> str:
    """Wait for a process that has to succeed; returns what it said."""
    code, said = process.wait(), process.said
    assert code == 0, f"exit code {code}, and it said\n{said}"
    assert "Traceback" not in said, said
    return said
