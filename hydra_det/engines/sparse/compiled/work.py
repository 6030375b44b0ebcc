"""What the threads of the engine do: the steps of a program one after another, the jobs of a step in any order.

Whoever is free takes the next job, so that masks which leave much in one output and little in another keep no thread
waiting.
"""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

import hydra_det.engines.sparse.compiled.steps as at
from hydra_det.engines.sparse.compiled.convolving import convolve
from hydra_det.engines.sparse.compiled.jit import compiled
from hydra_det.engines.sparse.compiled.passes import one_channel

SPINS = 2000  # looks at a counter before another process gets the processor


def _atomic_add(amount: int) -> Any:
    """A function that adds to a counter of an array, and gives the value before; no two threads see the same."""

    @intrinsic
    def atomic_add(typingctx, counters, place):  # type: ignore[no-untyped-def]
        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            added = ir.Constant(ir.IntType(64), amount)
            return builder.atomic_rmw("add", builder.gep(data, [args[1]]), added, "seq_cst")

        return types.int64(counters, types.intp), generate

    return atomic_add


_fetch_add, _read = _atomic_add(1), _atomic_add(0)


@intrinsic
def _give_way_to_others(typingctx):  # type: ignore[no-untyped-def]
    """Let another thread have the processor."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if sys.platform != "win32":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


_give_way: Any = _give_way_to_others  # which is called without the first argument


@compiled
def run(memory: Any, tables: Any, begin: int, end: int, counters: Any) -> None:
    """Work on the steps from `begin` to `end`; any number of threads may call this, at any time.

    A step begins when all jobs of the one before are done, whoever did them. So a thread that comes late keeps nobody
    waiting.

    Args:
        memory: of all maps.
        tables: a `Tables`.
        begin: the first step.
        end: the first one that is not worked on.
        counters: [2 * S] zeros: jobs that were taken, and jobs that are done, by step.
    """
    for number in range(begin, end):
        step = tables.steps[number]
        while True:
            job = _fetch_add(counters, 2 * number)
            if job >= step[at.JOBS]:
                break
            if step[at.OPERATION] == at.CONVOLVE:
                convolve(memory, tables, number, job)
            else:
                one_channel(memory, step, tables.slopes[number], job)
            _fetch_add(counters, 2 * number + 1)
        looks = 0
        while _read(counters, 2 * number + 1) < step[at.JOBS]:
            looks += 1
            if looks > SPINS:
                _give_way()
