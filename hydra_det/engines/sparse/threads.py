"""The threads that all engines of a process share, and parts of a piece of work that they do side by side."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MOST_HELPERS = 256  # threads, which are made when they are needed


def side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Do all of them: the first in this thread, and the others in helpers, or here too where no helper is free."""
    others = [(job, helpers(os.getpid()).submit(job)) for job in jobs[1:]]
    try:
        jobs[0]()
    finally:
        waiting = [job for job, future in others if future.cancel()]
        begun = [future for _, future in others if not future.cancelled()]
        for future in begun:
            future.exception()  # it is over, however it ended
    for job in waiting:
        job()
    for future in begun:
        future.result()


@functools.lru_cache(maxsize=1)
def helpers(_process: int) -> ThreadPoolExecutor:
    """Threads that all engines of a process share; they do not live on in a copy of it."""
    return ThreadPoolExecutor(MOST_HELPERS, "sparse")
