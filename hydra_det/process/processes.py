"""The further processes of a job on several devices, so that in a sweep every job has its own and leaves none behind.

Lightning would start them with the command as it was typed, which in a sweep is the whole sweep, and leave in the
environment what tells a process its place, so that the next job would find its processes there already. It takes them
as they are where somebody else started them, such as SLURM; here this file is that somebody.

What a stage finds in the store decides whether it trains, and another job may finish it between two looks. So the first
process decides, and tells the others.
"""

import contextlib
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from hydra_det.errors import InputError
from hydra_det.process.script import fail_at_once, is_helper, same_job

log = logging.getLogger(__name__)

# Say where a process stands among the others; Lightning and torch read the first five, and set the last one.
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")
STARTED_BY = "HYDRA_DET_STARTED_BY"  # the process that a further one must not outlive
PATIENCE = 60  # seconds in which the first process notices that another one is gone; some collectives never do
NO, YES, LATER = 0, 1, 2  # what the first process tells the others


class _Further:
    """The processes that this one started, and what it was like before."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.environment: dict[str, str] = {}
        self.threads = 0
        self.over = threading.Event()


_further = _Further()


def join(make_trainer: Callable[[], Any]) -> None:
    """Start the other processes of this job where its trainer wants some, and meet them; the second call does nothing.

    All of them come here before the first stage, whatever they find in the store.

    Args:
        make_trainer: gives a trainer of Lightning's, which is asked how many processes it wants; it trains nothing.
    """
    if dist.is_available() and dist.is_initialized():
        return
    trainer = make_trainer()
    place = getattr(trainer.strategy.launcher, "cluster_environment", None)  # None: one process, or forked ones
    if trainer.world_size == 1 or place is None:
        return
    if not place.creates_processes_externally:
        _start(trainer, place)
    elif parent := os.environ.get(STARTED_BY):
        threading.Thread(target=_outlive_nobody, args=(int(parent),), daemon=True).start()
    trainer.strategy.setup_environment()


def leave() -> None:
    """End what `join` started, and leave everything as it was; nothing where it started nothing."""
    global _further
    if not _further.running:
        return
    further, _further = _further, _Further()
    further.over.set()
    for process in further.running:
        process.terminate()
    for process in further.running:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if dist.is_initialized():
        dist.destroy_process_group()
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(further.environment)
    torch.set_num_threads(further.threads)


def agreed(decide: Callable[[], bool]) -> bool:
    """What the first process decides, in all of them; alone, what it decides.

    Args:
        decide: is asked in the first process only. It may take long if it calls `still_waiting` every now and then.
    """
    if not is_helper():
        answer = decide()
        _tell(YES if answer else NO)
        return answer
    while (told := _told()) == LATER:
        pass
    return told == YES


def still_waiting() -> None:
    """Keep the others from giving up on a decision of this process."""
    _tell(LATER)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """While all processes work: say that another one failed, where this one failed for that reason only."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        for number, process in enumerate(_further.running, 1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process.wait(timeout=5) != 0:
                    raise InputError(f"process {number} of this job ended; its message is above") from error
        raise


def _start(trainer: Any, place: Any) -> None:
    _further.environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    _further.threads = torch.get_num_threads()
    values = (place.main_address, place.main_port, place.node_rank(), 0, trainer.world_size)
    os.environ.update(zip(VARIABLES, map(str, values), strict=False))
    for rank in range(1, trainer.world_size // trainer.num_nodes):
        command, folder = same_job(rank)
        environment = {**os.environ, "LOCAL_RANK": str(rank), STARTED_BY: str(os.getpid())}
        _further.running.append(subprocess.Popen(command, env=environment, cwd=folder))
    threading.Thread(target=_watch, args=(_further,), daemon=True).start()


def _watch(further: _Further) -> None:
    """End this process if another one fails and it does not notice; torch would wait for that one for half an hour."""
    while not further.over.wait(1):
        failed = [number for number, process in enumerate(further.running, 1) if process.poll()]
        if failed and not further.over.wait(PATIENCE):
            for process in further.running:
                process.kill()
            # Nothing gets the first one out of what it waits in, so the jobs of a sweep after this one end with it.
            fail_at_once(f"process {failed[0]} of this job ended and the others waited; type the same command again")


def _outlive_nobody(parent: int) -> None:
    while os.getppid() == parent:
        threading.Event().wait(1)
    os._exit(1)


def _tell(word: int) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast_object_list([word], src=0)


def _told() -> int:
    said = [NO]
    dist.broadcast_object_list(said, src=0)
    return said[0]
