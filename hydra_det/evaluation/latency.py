"""Where the time of a detector goes: forward, decode and NMS, timed apart within the same iterations.

Apart, because masks do not make the convolutions faster while fewer boxes make decoding and NMS faster: a total alone
cannot tell the two.
"""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hydra_det.record import Latency, Spread
from hydra_det.types import InputError


def measure_latency(
    images: Sequence[Tensor],
    *,
    forward: Callable[[Tensor], Any],
    decode: Callable[[Any], Any],
    nms: Callable[[Any], Any],
    count_candidates: Callable[[Any], int] | None = None,
    warmup: int = 3,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Median and interquartile range of each part, in milliseconds a batch.

    The network must already be in eval mode and on the device of the images.

    Args:
        images: Batches [B, 3, H, W] of one shape and device, used in turn: NMS depends on what an image shows.
        forward: Images -> raw maps.
        decode: Raw maps -> candidate boxes, those above the confidence floor.
        nms: Candidate boxes -> detections.
        count_candidates: Number of boxes in what `decode` returned, for the whole batch. Not timed.
        warmup: Iterations that are run and not counted.
        repeats: Iterations that are counted.
        clock: Seconds, monotonic.
    """
    _check(images, warmup, repeats)
    device = images[0].device
    parts, candidates = [], []
    # Not inference_mode: a grid that a network caches in its first forward would be barred from autograd for ever.
    with torch.no_grad():
        for iteration in range(warmup + repeats):
            batch = images[iteration % len(images)]
            times = [_now(clock, device)]
            raw = forward(batch)
            times.append(_now(clock, device))
            decoded = decode(raw)
            times.append(_now(clock, device))
            nms(decoded)
            times.append(_now(clock, device))
            if iteration >= warmup:
                parts.append(np.diff(times))
                candidates.append(count_candidates(decoded) if count_candidates else 0)
    seconds = np.stack(parts)  # [repeats, 3]
    batch_size, _, height, width = images[0].shape
    return Latency(
        forward=_spread(seconds[:, 0]),
        decode=_spread(seconds[:, 1]),
        nms=_spread(seconds[:, 2]),
        total=_spread(seconds.sum(axis=1)),
        candidates=float(np.mean(candidates)) / batch_size if count_candidates else None,
        batch_size=batch_size,
        image_size=[height, width],
        repeats=repeats,
        device=device.type,
        device_name=_device_name(device),
        dtype=str(images[0].dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
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


def _device_name(device: torch.device) -> str:
    """The product name of the processor, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
