"""A benchmark that takes no time: `python -m tests.benchmarks.example HOW --save FILE`; HOW: see the end."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.measured import Measured, Row


def measured(**changes: float) -> Measured:
    """Two variants; the second one is twice as fast, further than the rounds are spread."""
    rows: list[Row] = [
        {"variant": "theirs", "ms": 1234.5, "iqr_ms": 20.0, "ratio": 1.0},
        {"variant": "ours", "ms": 617.25, "iqr_ms": 10.0, "ratio": 2.0, **changes},
    ]
    return Measured(
        title="A step, cpu",
        rows=rows,
        baseline="theirs",
        notes=["Medians of 3 rounds in turns."],
        settings={"rounds": 3},
        device="A processor",
        threads=2,
        torch="2.13",
    )


if __name__ == "__main__":
    if sys.argv[1] == "failed":
        raise SystemExit("the network is gone")
    if sys.argv[1] in {"measured", "nan"}:
        measured(**({"ms": math.nan} if sys.argv[1] == "nan" else {})).save(Path(sys.argv[3]))
    if sys.argv[1] == "careless":
        Path(sys.argv[3]).write_text(json.dumps(asdict(measured(ms=-math.inf))))
