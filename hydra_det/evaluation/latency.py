"""Where the time of a detector goes: forward, decode and NMS, timed apart within the same iterations.

Apart, because masks do not make the convolutions faster while fewer boxes make decoding and NMS faster: a total alone
cannot tell the two. Networks that are to be compared take turns, so that whatever else the machine does falls on all.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hydra_det.records.record import Latency, Spread
from hydra_det.types import InputError


class Parts(NamedTuple):
    """A detector as three functions, each of what the one before it returned.

    Its network must already be in eval mode and on the device of the images.

    Attributes:
        forward: Images [B, 3, H, W] -> raw maps.
        decode: Raw maps -> candidate boxes, those above the confidence floor.
        nms: Candidate boxes -> detections.
        count_candidates: Number of (box, class) pairs that `nms` compares, for the whole batch. Not timed.
    """

    forward: Callable[[Tensor], Any]
    decode: Callable[[Any], Any]
    nms: Callable[[Any], Any]
    count_candidates: Callable[[Any], int] | None = None


def measure_latency(
    networks: Mapping[str, Parts],
    images: Sequence[Tensor],
    *,
    warmup: int = 3,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Median and interquartile range of each part of each network, in milliseconds a batch.

    In every iteration all networks see the same batch, one after the other, and another one goes first.

    Args:
        networks: By name.
        images: Batches [B, 3, H, W] of one shape and device, used in turn: NMS depends on what an image shows.
        warmup: Iterations that are run and not counted.
        repeats: Iterations that are counted.
        clock: Seconds, monotonic.
    """
    _check(images, warmup, repeats)
    names = list(networks)
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in names}
    candidates: dict[str, list[int]] = {name: [] for name in names}
    # Not inference_mode: a grid that a network caches in its first forward would be barred from autograd for ever.
    with torch.no_grad():
        for iteration in range(warmup + repeats):
            first = iteration % len(names)
            for name in names[first:] + names[:first]:
                times, count = _time_once(networks[name], images[iteration % len(images)], clock)
                if iteration >= warmup:
                    seconds[name].append(times)
                    candidates[name].append(count)
    return {
        name: _summary(
            np.stack(seconds[name]),
            images[0],
            candidates=float(np.mean(candidates[name])) if networks[name].count_candidates else None,
        )
        for name in names
    }


def _time_once(network: Parts, batch: Tensor, clock: Callable[[], float]) -> tuple[np.ndarray, int]:
    """Seconds of forward, decode and NMS, and the number of candidates."""
    times = [_now(clock, batch.device)]
    raw = network.forward(batch)
    times.append(_now(clock, batch.device))
    decoded = network.decode(raw)
    times.append(_now(clock, batch.device))
    network.nms(decoded)
    times.append(_now(clock, batch.device))
    return np.diff(times), network.count_candidates(decoded) if network.count_candidates else 0


def _summary(seconds: np.ndarray, batch: Tensor, *, candidates: float | None) -> Latency:
    """Seconds [repeats, 3] and candidates a batch -> what the record keeps."""
    batch_size, _, height, width = batch.shape
    return Latency(
        forward=_spread(seconds[:, 0]),
        decode=_spread(seconds[:, 1]),
        nms=_spread(seconds[:, 2]),
        total=_spread(seconds.sum(axis=1)),
        candidates=None if candidates is None else candidates / batch_size,
        batch_size=batch_size,
        image_size=[height, width],
        repeats=len(seconds),
        device=batch.device.type,
        device_name=device_name(batch.device),
        dtype=str(batch.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        load=_load(),
    )


def _check(images: Sequence[Tensor], warmup: int, repeats: int) -> None:
    if repeats < 1 or warmup < 0:
        raise InputError(f"latency: expected repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    if not images:
        raise InputError("latency: expected at least one batch of images, got none")
    first = images[0]
    for index, batch in enumerate(images):
        if batch.ndim != 4 or (batch.shape, batch.device, batch.dtype) != (first.shape, first.device, first.dtype):
            raise InputError(
                f"latency: batch {index}: expected [B, 3, H, W] like batch 0, {tuple(first.shape)} {first.dtype} on "
                f"{first.device}, got {tuple(batch.shape)} {batch.dtype} on {batch.device}; times would not compare"
            )


def _now(clock: Callable[[], float], device: torch.device) -> float:
    """The time when the device has done all it was given, as kernels run behind the program's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()


def _spread(seconds: np.ndarray) -> Spread:
    low, median, high = np.percentile(seconds * 1000, [25, 50, 75])
    return Spread(median_ms=float(median), iqr_ms=float(high - low))


def _load() -> float | None:
    """Processes that were ready to run, per core, in the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None


def device_name(device: torch.device) -> str:
    """The product name of the processor, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
