"""How much memory something needs at most while it runs."""

from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(run: Callable[[], object], *, device: str = "cpu") -> int:
    """Bytes that `run` needs above what is held before: of the GPU, or of this process, which must be on Linux.

    A process keeps memory that it no longer uses; the number is exact only in a process that has run nothing before.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    """A size that Linux knows of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024
