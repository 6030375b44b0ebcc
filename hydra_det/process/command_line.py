"""The console scripts. Importing this file takes no time; the scripts, which load torch, take seconds."""

import runpy

from hydra_det.process.interrupts import leave_at_once
from hydra_det.process.locations import SCRIPTS


def train() -> None:
    """The console script `hydra-det-train`: the same as `python train.py`."""
    _run_script("train")


def evaluate() -> None:
    """The console script `hydra-det-evaluate`: the same as `python evaluate.py`."""
    _run_script("evaluate")


def doctor() -> None:
    """The console script `hydra-det-doctor`: the same as `python doctor.py`."""
    _run_script("doctor")


def detect() -> None:
    """The console script `hydra-det-detect`: the same as `python detect.py`."""
    _run_script("detect")


def report() -> None:
    """The console script `hydra-det-report`: the same as `python report.py`."""
    _run_script("report")


def compact() -> None:
    """The console script `hydra-det-compact`: the same as `python compact.py`."""
    _run_script("compact")


def _run_script(name: str) -> None:
    leave_at_once()
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
