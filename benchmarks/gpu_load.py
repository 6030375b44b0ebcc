"""How busy the GPU is, and how much of its memory is needed, while something runs again and again."""

import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import torch

from hydra_det.evaluation.memory import peak_memory

SECONDS = 1.5  # the driver's figure is a mean over up to a second
QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")


def gpu_load(run: Callable[[], object], *, seconds: float = SECONDS) -> dict[str, float | None]:
    """`gpu_percent`, the share of time in which a kernel ran, and `peak_mib`.

    Memory is what torch allocates above what is held between two runs; a CUDA graph holds its memory all the time. The
    share is the driver's, for the GPU that torch computes on, whoever uses it; None where nvidia-smi cannot be asked.

    Args:
        run: repeated for `seconds`.
        seconds: at least a second, as the driver's figure is a mean over up to that.
    """
    peak = peak_memory(run, device="cuda")
    done, samples = threading.Event(), list[float]()
    watcher = threading.Thread(target=_sample, args=(_query(), done, samples))
    watcher.start()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        run()
        torch.cuda.synchronize()
    done.set()
    watcher.join()
    later = samples[len(samples) // 2 :]  # the first ones still look back at what ran before
    return {"peak_mib": peak / 2**20, "gpu_percent": statistics.median(later) if later else None}


def _query() -> list[str]:
    """By its identity: the driver's numbers are not those of CUDA_VISIBLE_DEVICES."""
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return [*QUERY, f"--id=GPU-{uuid}"]


def _sample(query: Sequence[str], done: threading.Event, samples: list[float]) -> None:
    while not done.is_set():
        try:
            answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=5).stdout
            samples.append(float(answer.splitlines()[0]))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return
        done.wait(0.1)
