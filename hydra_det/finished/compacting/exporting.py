"""The compact network in an engine: its file, and its raw maps beside those of torch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from hydra_det.compaction.files import Make
from hydra_det.engines.engine import Forward
from hydra_det.engines.equal import check_equal
from hydra_det.finished.in_engine import open_here, run_here
from hydra_det.process.apart import Apart
from hydra_det.records.record import EngineResult

COMPARED = 8  # images


def export(
    engine: str,
    folder: Path,
    *,
    sample: Tensor,
    wanted: Any,
    threads: int,
    apart: Apart | None = None,
    make: Make | None = None,
) -> tuple[Forward, EngineResult]:
    """A network in an engine: written, opened, and its raw maps compared with torch.

    Args:
        engine: a key of `ENGINES`.
        folder: of the compact network; the file is written into it.
        sample: [N, 3, S, S], images to calibrate with.
        wanted: raw maps of torch on the first `COMPARED` of them.
        threads: of the CPU.
        apart: the process that the engine lives in; None: this one.
        make: of `load_compact`.

    Raises:
        InputError: the engine answers something else.
        DiedError: the process of the engine is gone.
    """
    call: Any = apart.call if apart else _here
    file = call(open_here, engine, folder, sample, threads, make)
    forward = partial(call, run_here, engine)
    worst = check_equal(engine, wanted, forward(sample[:COMPARED]))
    size = None if file is None else sum(part.stat().st_size for part in _parts_of(file))
    return forward, EngineResult(engine=engine, file_bytes=size, difference=worst, metrics=None)


def _here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _parts_of(file: Path) -> list[Path]:
    """OpenVINO keeps the weights in a file of their own."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
