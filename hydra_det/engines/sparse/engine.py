"""The sparse engine: a network as a program for the size of its images, which threads of its own work on."""

import functools
import logging
import shutil
import threading
import time
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.engines.sparse.compiled.jit import folder
from hydra_det.engines.sparse.compiled.work import run
from hydra_det.engines.sparse.fusing import fuse
from hydra_det.engines.sparse.layout import channels_at, put
from hydra_det.engines.sparse.planning import Planner
from hydra_det.engines.sparse.program import Program, make_tables
from hydra_det.engines.sparse.running import memory_of, run_program, seconds
from hydra_det.engines.sparse.tuning import best_ways
from hydra_det.modules.graph import GraphDetector

log = logging.getLogger(__name__)

SIZES = 4  # of images, whose programs are kept
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
            try:
                maps = self._maps(images.detach().float().cpu().numpy())
            except BaseException:  # a thread may still work on what an interrupt left
                self._programs.clear()
                raise
        return [self.network.get_submodule(name)(torch.from_numpy(found)) for name, found in maps.items()]

    def _maps(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """[B, 3, H, W] -> by output [B, C, H, W]"""
        program, memory = self._program((images.shape[2], images.shape[3]))
        maps = {
            name: np.empty((len(images), place.channels, place.layout.height, place.layout.width), np.float32)
            for name, place in program.outputs.items()
        }
        for number, image in enumerate(images):
            put(memory, program.images.base, program.images.layout, image)
            run_program(program, memory, threads=self.threads)
            for name, place in program.outputs.items():
                maps[name][number] = channels_at(memory, place.base, place.layout, place.channels)
        return maps

    def _program(self, size: tuple[int, int]) -> tuple[Program, NDArray[np.float32]]:
        """For images of a size (height, width), and its memory."""
        found = self._programs.pop(size, None)
        if found is None:
            start = time.perf_counter()
            ways = best_ways(self.operations, size, partial(seconds, threads=self.threads)) if self.tuned else {}
            program = Planner(self.operations, size, ways).program(self.network.graph.outputs)
            found = program, memory_of(program)
            if (took := time.perf_counter() - start) > LONG:
                log.info("sparse: ready for images of %d x %d after %.1f s", *size[::-1], took)
        self._programs[size] = found
        if len(self._programs) > SIZES:
            del self._programs[next(iter(self._programs))]
        return found


@functools.cache
def _compile() -> None:
    """Once in a process: read the machine code that is kept, or make it."""
    start = time.perf_counter()
    nothing = (np.zeros(1, dtype=np.float32), make_tables([]), 0, 0, np.zeros(1, dtype=np.int64))
    try:
        run(*nothing)
    except Exception as error:  # of many kinds, where a file was cut off
        if (kept := folder()) is None:
            raise
        log.warning("sparse: what was kept in %s cannot be read or written (%s); it is made anew", kept, error)
        shutil.rmtree(kept, ignore_errors=True)
        run(*nothing)
    if (took := time.perf_counter() - start) > LONG:
        log.info("sparse: compiled in %.1f s, once for this processor; kept in %s", took, folder() or "memory only")
