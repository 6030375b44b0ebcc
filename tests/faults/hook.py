"""Faults built into a process: at a chosen event of the file system it is killed, or what it asked for is refused.

Python tells an audit hook of every file that it is about to open, rename, make or remove. Counting these events gives
every instant at which other names lie on disk, and of each file the instant before its first byte. What is not seen:
`write` and `fsync`, so the instants within a file, and all that native code does by itself, such as the files of torch
and safetensors where they are given a path. `file_bytes`, small drives (`places`) and kills at random instants
(`chains`) reach those.
"""

import errno as numbers
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MAKING = ("open", "os.mkdir", "os.symlink", "os.link")  # what a full drive refuses
CHANGING = (*MAKING, "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.chmod")


@dataclass(frozen=True)
class Fault:
    """What happens to a process, and when.

    Attributes:
        folder: below which events count.
        event: number of the event before which it happens, from 1; 0: never, the events are only counted.
        refusal: name of the error that is raised from then on, such as ENOSPC; None: the process is killed.
        file_bytes: no file may become larger; None: no limit.
        count: file that gets the number of events so far, and the last one; None: nobody wants to know.
    """

    folder: str
    event: int = 0
    refusal: str | None = None
    file_bytes: int | None = None
    count: str | None = None


def install(fault: Fault) -> None:
    """Let a fault happen to this process; there is no way back."""
    if fault.file_bytes:  # Python ignores the signal that comes with it, and gets an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, resource.RLIM_INFINITY))
    state: dict[str, Any] = {"events": 0, "busy": False, "last": []}
    process = os.getpid()
    refused = MAKING if fault.refusal in ("ENOSPC", "EDQUOT", "EMFILE") else CHANGING

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if state["busy"] or event not in CHANGING or os.getpid() != process or not _counts(event, arguments):
            return
        state["busy"] = True
        try:
            paths = [str(Path(os.fsdecode(item)).absolute()) for item in arguments[:2] if isinstance(item, str | bytes)]
            # TensorBoard opens its file for every number anew, which is one event here.
            again = event == "open" and paths == state["last"] and "tfevents" in paths[0]
            if again or not any(path.startswith(fault.folder) for path in paths):
                return
            state["last"] = paths
            state["events"] += 1
            if fault.count:
                Path(fault.count).write_text(f"{state['events']} {event} {' '.join(paths)}")
            if not fault.event or state["events"] < fault.event:
                return
            if fault.refusal is None:
                os.kill(process, signal.SIGKILL)
            elif event in refused:
                number = getattr(numbers, fault.refusal)
                raise OSError(number, os.strerror(number), paths[0])
        finally:
            state["busy"] = False

    sys.addaudithook(hook)


def _counts(event: str, arguments: tuple[Any, ...]) -> bool:
    """Of opened files those that are written; `open` says how as a mode or, from `os.open`, as flags."""
    return event != "open" or bool(arguments[2] & WRITING)
