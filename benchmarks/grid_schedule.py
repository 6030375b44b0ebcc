"""How long a grid of jobs takes that share stages: the sum, the longest chain, and a simulation of workers.

A job is its stages in order. A stage has a key: the first job that comes to it runs it, and jobs that come to it
meanwhile wait, as the store has it. Stages say which one they need, so the longest chain is known too: below it no
number of workers helps.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Work(NamedTuple):
    """A stage of a job.

    Attributes:
        key: the same in every job that shares it.
        seconds: that it takes.
        needs: the key of the stage that it starts from; None: of none.
    """

    key: str
    seconds: float
    needs: str | None = None


Job = Sequence[Work]


class Schedule(NamedTuple):
    """What a simulation found, in seconds.

    Attributes:
        end: when the last job ends.
        held: the workers' time from their first to their last job, waiting included.
        waited: of that, for stages that another worker ran.
    """

    end: float
    held: float
    waited: float


def different(jobs: Iterable[Job]) -> dict[str, Work]:
    """Every stage once, by its key."""
    return {work.key: work for job in jobs for work in job}


def shared_seconds(jobs: Iterable[Job]) -> float:
    """All stages, each once: what one worker takes."""
    return sum(work.seconds for work in different(jobs).values())


def unshared_seconds(jobs: Iterable[Job]) -> float:
    """Every job from its beginning."""
    return sum(work.seconds for job in jobs for work in job)


def critical_path(jobs: Iterable[Job]) -> float:
    """The longest chain of stages that need each other."""
    works = different(jobs)
    ends: dict[str, float] = {}

    def end(key: str) -> float:
        if key not in ends:
            work = works[key]
            ends[key] = work.seconds + (end(work.needs) if work.needs is not None else 0.0)
        return ends[key]

    return max((end(key) for key in works), default=0.0)


def simulate(jobs: Sequence[Job], workers: int, *, finished: Iterable[str] = ()) -> Schedule:
    """Workers that take job after job in their order, each through its stages, and wait where another one is at it.

    Args:
        jobs: in the order in which they are begun.
        workers: how many.
        finished: keys of stages that are there already.
    """
    ends = dict.fromkeys(finished, 0.0)  # of stages that were begun; a worker that comes earlier waits
    queue = iter(jobs)
    last = held = waited = 0.0
    # (time, worker, stages left): the worker with the earliest time goes on, ties in their order.
    events: list[tuple[float, int, list[Work]]] = [(0.0, worker, []) for worker in range(workers)]
    while events:
        now, worker, left = heapq.heappop(events)
        if not left:
            job = next(queue, None)
            if job is None:
                held += now
                last = max(last, now)
                continue
            left = list(job)
        work, *rest = left
        if work.key not in ends:
            ends[work.key] = now + work.seconds
        else:
            waited += max(0.0, ends[work.key] - now)
        heapq.heappush(events, (max(now, ends[work.key]), worker, rest))
    return Schedule(last, held, waited)


def simulate_in_two(jobs: Sequence[Job], workers: int) -> Schedule:
    """The first job of every first stage, and when all of these have ended, as two commands do, the others."""
    first = list({job[0].key: job for job in reversed(jobs)}.values())
    others = [job for job in jobs if job not in first]
    begun, rest = simulate(first, workers), simulate(others, workers, finished=different(first))
    return Schedule(*(one + other for one, other in zip(begun, rest, strict=True)))
