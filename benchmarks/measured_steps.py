"""Measured times of steps as a JSON file: one entry for each device and way of computing."""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hydra_det.errors import InputError
from hydra_det.evaluation.latency import device_name
from hydra_det.files.atomic import write_atomically

KINDS = (
    "train_clean", "train_attacked", "score_clean", "score_attacked", "evaluate_clean", "evaluate_attacked", "deeplift",
    "average_precision",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds an image on one device.

    Attributes:
        device: its name.
        threads: of the CPU.
        load: average load of the machine, over a minute, when the measurement ended.
        torch: its version.
        model: a file in conf/model/.
        image_size: pixels.
        batch: images a step.
        precision: float32, or bf16-mixed in channels_last.
        rounds: that the medians are of.
        command: that measured.
        clock: what its seconds are: on the clock, or of the processor.
        seconds: by kind of step, medians.
        quartiles: by kind of step, the lower and the upper one.
    """

    device: str
    threads: int
    load: float
    torch: str
    model: str
    image_size: int
    batch: int
    precision: str
    rounds: int
    command: str
    clock: str
    seconds: dict[str, float]
    quartiles: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [kind for kind in KINDS if not self.seconds.get(kind, 0) > 0]
        if missing:
            raise InputError(
                f"{self.device}: expected seconds above 0 for every kind of step, got none for {', '.join(missing)}; "
                "measure again with benchmarks.stage_times"
            )

    @property
    def title(self) -> str:
        """For a table."""
        return f"{self.device}, {self.precision}, batches of {self.batch}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """A second measurement of the same takes the place of the first."""
        return (self.device, self.model, self.image_size, self.batch, self.precision)


def computed_on(device: str) -> dict[str, Any]:
    """What a measurement says of where it was made."""
    return {
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
    }


def read(file: Path) -> list[StepTimes]:
    """All measurements in a file.

    Raises:
        InputError: it is not such a file.
    """
    try:
        return [StepTimes(**entry) for entry in json.loads(file.read_text())["measured"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{file}: expected measurements, got {type(error).__name__}: {error}; make it with benchmarks.stage_times"
        ) from error


def add(file: Path, new: StepTimes) -> None:
    """Write a measurement beside the others of a file, or in place of an earlier one of the same."""
    kept = [entry for entry in read(file) if entry.identity != new.identity] if file.exists() else []
    entries = sorted([*kept, new], key=lambda entry: entry.title)
    content = {"measured": [dataclasses.asdict(entry) for entry in entries]}
    write_atomically(file, json.dumps(content, indent=1, allow_nan=False) + "\n")
