"""Runs one of the scripts in this process, with a fault built in.

python -m tests.faults.launch '{"folder": "/tmp/x", "event": 7}' train prune.ratio=0.5
"""

import json
import runpy
import sys
from pathlib import Path

from tests.faults.hook import Fault, install

ROOT = str(Path(__file__).resolve().parents[2])


def run_script(fault: Fault | None, name: str, words: list[str]) -> None:
    """What `python <name>.py <words>` does, with a fault; returns only where the script does."""
    path = f"{ROOT}/{name}.py"
    sys.argv = [path, *words]
    if fault is not None:
        install(fault)
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    run_script(Fault(**given) if given else None, sys.argv[2], sys.argv[3:])
