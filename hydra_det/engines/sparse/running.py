"""Programs that run: their memory, their threads, and the seconds that they take."""

import os
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydra_det.engines.sparse.compiled.work import run
from hydra_det.engines.sparse.dense import compute
from hydra_det.engines.sparse.layout import LINE, put
from hydra_det.engines.sparse.program import Program
from hydra_det.engines.sparse.threads import helpers

ROUNDS = 3  # of a program that is timed


def run_program(program: Program, memory: NDArray[np.float32], *, threads: int) -> None:
    """From the input in memory to the raw maps."""
    steps = len(program.tables.steps)
    counters = np.zeros(2 * steps, dtype=np.int64)
    begin = 0
    for dense in program.dense:
        _together(memory, program.tables, begin, dense.step, counters, threads)
        compute(dense, memory, threads=threads)
        begin = dense.step + 1
    _together(memory, program.tables, begin, steps, counters, threads)


def memory_of(program: Program) -> NDArray[np.float32]:
    """As it is before anything is computed; it begins with a cache line, and vectors may reach beyond its end."""
    room = np.zeros(program.floats + 4 * LINE, dtype=np.float32)
    start = -room.ctypes.data // room.itemsize % LINE
    memory = room[start : start + program.floats]
    for part in program.filled:
        size = (part.channels, part.layout.height, part.layout.width)
        put(memory, part.base, part.layout, np.full(size, part.buffer.filled, dtype=np.float32))
    return memory


def seconds(program: Program, *, threads: int) -> float:
    """That a program takes: the least of some runs, the first of which also fetches its memory."""
    memory, found = memory_of(program), []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        run_program(program, memory, threads=threads)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def _together(
    memory: NDArray[np.float32], tables: Any, begin: int, end: int, counters: NDArray[np.int64], threads: int
) -> None:
    """All threads on some steps."""
    if begin == end:
        return
    work: tuple[Any, ...] = (memory, tables, begin, end, counters)
    others: list[Future[None]] = []
    try:
        for _ in range(threads - 1):
            others.append(helpers(os.getpid()).submit(run, *work))
        run(*work)
    finally:
        for other in others:
            if not other.cancel():  # it has begun
                other.result()
