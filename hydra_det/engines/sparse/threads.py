"""The threads that all engines of a process share."""

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

MOST_HELPERS = 256  # threads, which are made when they are needed


@functools.lru_cache(maxsize=1)
def helpers(_process: int) -> ThreadPoolExecutor:
    """For steps of the engine's own; they do not live on in a copy of the process."""
    return ThreadPoolExecutor(MOST_HELPERS, "sparse")


@functools.lru_cache(maxsize=4)
def torch_helpers(_process: int, count: int) -> ThreadPoolExecutor:
    """So many threads for steps of torch's, in each of which torch computes with one thread.

    `torch.set_num_threads` is for the thread that calls it and for all that have not met torch yet. So it is called
    once in every helper, all of which begin here, and what it was is set again before anything is computed.
    """
    pool, met, before = ThreadPoolExecutor(count, "sparse-torch"), threading.Barrier(count), torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread takes the number of the process, also after one was set
        torch.set_num_threads(1)
        met.wait()  # so that each is another thread

    try:
        side_by_side(pool, [begin] * count)
    except BaseException:
        met.abort()
        pool.shutdown()
        raise
    finally:
        torch.set_num_threads(before)
    return pool


def side_by_side(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], None]]) -> None:
    """Have all of them done; none goes on after an error or an interrupt."""
    futures: list[Future[None]] = []
    try:
        for job in jobs:
            futures.append(pool.submit(job))
        for future in futures:
            future.result()
    finally:
        for future in futures:
            if not future.cancel():
                future.exception()  # waits for it
