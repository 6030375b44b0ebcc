"""A process that works on a store, killed or refused at every event of the file system; needs no torch.

python -m tests.faults.store_crashes FOLDER     prints what was found, as JSON
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra_det.store.store import Store
from tests.faults.hook import Fault, install

NAME, KEY = "prune", "0123456789ab"
ABOUT = {"name": NAME, "seconds": 1.5}
WEIGHTS = bytes(range(256)) * 64
REFUSED = 7  # exit code of a process that met an error of the system
REFUSALS = (None, "ENOSPC", "EROFS")  # None: killed


def work(root: Path) -> None:
    """What a stage does with the store: claims it, goes on from a checkpoint, leaves its files."""
    store = Store(root)
    with ExitStack() as claimed:
        if not store.claim_missing(NAME, KEY, claimed):
            return
        partial = store.partial(NAME, KEY)
        (partial / "last.ckpt").write_bytes(WEIGHTS[:100])
        (partial / "weights.safetensors").write_bytes(WEIGHTS)
        (partial / "tensorboard").mkdir(exist_ok=True)
        store.publish(NAME, KEY, ABOUT)


def from_nothing(root: Path) -> None:
    """No store."""


def interrupted(root: Path) -> None:
    """What a killed process left, with half a file."""
    partial = root / f"{NAME}-{KEY}.partial"
    (partial / "tensorboard").mkdir(parents=True)
    (partial / "last.ckpt").write_bytes(b"half")
    (partial / ".weights.safetensors.0a1b.tmp").write_bytes(WEIGHTS[:50])
    (partial / "weights.safetensors").write_bytes(WEIGHTS[:50])


def damaged(root: Path) -> None:
    """A finished stage with one byte that is another one, beside an older damaged one."""
    work(root)
    folder = root / f"{NAME}-{KEY}"
    (folder / "weights.safetensors").write_bytes(b"\xff" + WEIGHTS[1:])
    shutil.copytree(folder, root / f"{NAME}-{KEY}.damaged")


STARTS: dict[str, Callable[[Path], None]] = {
    "from_nothing": from_nothing,
    "interrupted": interrupted,
    "damaged": damaged,
}


def in_child(root: Path, fault: Fault | None) -> int:
    """Do the work in a process of its own; returns its exit code."""
    pid = os.fork()
    if not pid:
        try:
            if fault:
                install(fault)
            work(root)
            os._exit(0)
        except OSError:
            os._exit(REFUSED)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def state(root: Path) -> str:
    """What a reader finds: nothing, the whole stage, or what must not be."""
    found = Store(root).find(NAME, KEY)
    if found is None:
        return "nothing"
    same = {key: found.get(key) for key in ABOUT} == ABOUT
    if same and (root / f"{NAME}-{KEY}" / "weights.safetensors").read_bytes() == WEIGHTS:
        return "whole"
    return f"wrong: {found}"


def left_over(root: Path) -> list[str]:
    """What a finished store must not hold any more."""
    names = [path.relative_to(root).as_posix() for path in root.rglob("*")]
    return [name for name in names if name.endswith((".tmp", ".ckpt")) or ".partial" in name.split("/")[0]]


def crashes(folder: Path) -> Iterator[dict[str, Any]]:
    """Every event of every start, killed and refused: what was there then, and after the same work again."""
    for start, prepare in STARTS.items():
        for refusal in REFUSALS:
            event, code = 0, -1
            while code != 0:
                event += 1
                root = folder / f"{start}-{refusal}-{event}"
                prepare(root)
                code = in_child(root, Fault(str(root), event=event, refusal=refusal))
                then = state(root)
                again = in_child(root, None)
                yield {
                    "start": start, "refusal": refusal, "event": event, "code": code, "then": then, "again": again,
                    "at_the_end": state(root), "left_over": left_over(root),
                }  # fmt: skip
                shutil.rmtree(root)


if __name__ == "__main__":
    logging.disable()
    json.dump(list(crashes(Path(sys.argv[1]).resolve())), sys.stdout)
