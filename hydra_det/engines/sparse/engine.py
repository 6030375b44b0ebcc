"""The sparse engine: a network as a program for the size of its images, which threads of its own work on."""

import functools
import logging
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.engines.sparse.compiled.jit import folder
from hydra_det.engines.sparse.compiled.work import run
from hydra_det.engines.sparse.dense import compute
from hydra_det.engines.sparse.fusing import fuse
from hydra_det.engines.sparse.layout import LINE, get, put
from hydra_det.engines.sparse.planning import Planner
from hydra_det.engines.sparse.program import Program, make_tables
from hydra_det.engines.sparse.tuning import best_ways
from hydra_det.modules.graph import GraphDetector

log = logging.getLogger(__name__)

ROUNDS = 3  # of a convolution that is timed
SIZES = 4  # of images, whose programs are kept
MOST_HELPERS = 256  # threads, which are made when they are needed
LONG = 1.0  # seconds; what takes longer is told


class Sparse:
    """A network that is ready to run; zeros among its weights cost nothing.

    One image goes through at a time, by all threads. Calls from several threads wait for each other.

    Args:
        network: in eval mode, on the CPU; its weights are read now.
        threads: of the CPU.
        tuned: time how every convolution is computed fastest, once for every size of images.

    Raises:
        InputError: the engine lacks an operation of the network, which is named.
    """

    def __init__(self, network: GraphDetector, *, threads: int, tuned: bool = True) -> None:
        self.network = network
        self.threads = threads
        self.tuned = tuned
        self.operations = fuse(network)
        _compile()
        self._programs: dict[tuple[int, int], tuple[Program, NDArray[np.float32]]] = {}  # the last one used is last
        self._lock = threading.Lock()

    def __call__(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> raw maps"""
        with self._lock:
            program, memory = self._program((images.shape[2], images.shape[3]))
            outputs: dict[str, list[Any]] = {name: [] for name in program.outputs}
            for image in images.detach().float().cpu().numpy():
                put(memory, program.images.base, program.images.layout, image)
                self._run(program, memory)
                for name, place in program.outputs.items():
                    outputs[name].append(get(memory, place.base, place.layout, place.channels))
        return [self.network.get_submodule(name)(torch.from_numpy(np.stack(maps))) for name, maps in outputs.items()]

    def _run(self, program: Program, memory: NDArray[np.float32]) -> None:
        """From the input in memory to the raw maps."""
        steps = len(program.tables.steps)
        counters = np.zeros(2 * steps, dtype=np.int64)
        begin = 0
        for dense in program.dense:
            self._together(memory, program.tables, begin, dense.step, counters)
            compute(dense, memory)
            begin = dense.step + 1
        self._together(memory, program.tables, begin, steps, counters)

    def _together(self, memory: NDArray[np.float32], tables: Any, begin: int, end: int, counters: Any) -> None:
        """All threads on some steps."""
        if begin == end:
            return
        work: tuple[Any, ...] = (memory, tables, begin, end, counters)
        others = [_helpers(os.getpid()).submit(run, *work) for _ in range(self.threads - 1)]
        try:
            run(*work)
        finally:
            for other in others:
                if not other.cancel():  # it has begun
                    other.result()

    def _program(self, size: tuple[int, int]) -> tuple[Program, NDArray[np.float32]]:
        """For images of a size (height, width), and its memory."""
        found = self._programs.pop(size, None)
        if found is None:
            start = time.perf_counter()
            ways = best_ways(self.operations, size, self._seconds) if self.tuned else {}
            program = Planner(self.operations, size, ways).program(self.network.graph.outputs)
            found = program, _memory(program)
            if (seconds := time.perf_counter() - start) > LONG:
                log.info("sparse: ready for images of %d x %d after %.1f s", *size[::-1], seconds)
        self._programs[size] = found
        if len(self._programs) > SIZES:
            del self._programs[next(iter(self._programs))]
        return found

    def _seconds(self, program: Program) -> float:
        """That a program takes: the least of some runs, the first of which also fetches its memory."""
        memory, found = _memory(program), []
        for _ in range(1 + ROUNDS):
            start = time.perf_counter()
            self._run(program, memory)
            found.append(time.perf_counter() - start)
        return min(found[1:])


@functools.lru_cache(maxsize=1)
def _helpers(_process: int) -> ThreadPoolExecutor:
    """Threads that all engines of a process share; they do not live on in a copy of it."""
    return ThreadPoolExecutor(MOST_HELPERS, "sparse")


@functools.cache
def _compile() -> None:
    """Once in a process: read the machine code that is kept, or make it."""
    start = time.perf_counter()
    nothing = (np.zeros(1, dtype=np.float32), make_tables([]), 0, 0, np.zeros(1, dtype=np.int64))
    try:
        run(*nothing)
    except Exception as error:  # of many kinds, where a file was cut off
        log.warning("sparse: what was kept in %s cannot be read (%s); it is made anew", folder(), error)
        shutil.rmtree(folder(), ignore_errors=True)
        run(*nothing)
    if (seconds := time.perf_counter() - start) > LONG:
        log.info("sparse: compiled in %.1f s, once for this processor; kept in %s", seconds, folder())


def _memory(program: Program) -> NDArray[np.float32]:
    """As it is before anything is computed; it begins with a cache line, and vectors may reach beyond its end."""
    room = np.zeros(program.floats + 4 * LINE, dtype=np.float32)
    start = -room.ctypes.data // room.itemsize % LINE
    memory = room[start : start + program.floats]
    for begin, end, value in program.filled:
        memory[begin:end] = value
    return memory
