"""Where the time of a detector goes: forward, decode and NMS, timed apart within the same iterations.

Apart, because masks do not make the convolutions faster while fewer boxes make decoding and NMS faster: a total alone
cannot tell the two. NMS is timed from the confidence of use on, and from COCO's on beside it: at 0.001 it sorts
mostly what no product would use, and more of them in a pruned network. Networks that are to be compared take
turns, so that whatever else the machine does falls on all.
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

from hydra_det.records.record import PROTOCOLS, Latency, Spread, Suppressed
from hydra_det.types import InputError


class Parts(NamedTuple):
    """A detector as three functions, each of what the one before it returned.

    Its network must already be in eval mode and on the device of the images.

    Attributes:
        forward: Images [B, 3, H, W] -> raw maps.
        decode: Raw maps -> candidate boxes, those above the confidence floor.
        nms: Candidate boxes, and the least confidence that counts -> detections.
        count_candidates: Number of (box, class) pairs that `nms` compares, of the same, for the whole batch. Not timed.
    """

    forward: Callable[[Tensor], Any]
    decode: Callable[[Any], Any]
    nms: Callable[[Any, float], Any]
    count_candidates: Callable[[Any, float], int] | None = None


def network_parts(network: Any, forward: Callable[[Tensor], Any], image_size: tuple[int, int]) -> Parts:
    """The parts of a detector whose raw maps come from itself or an engine; the size is (height, width) in pixels.

    Of one that does not decode apart, all of its answer counts as decoding.
    """
    if not all(hasattr(network, verb) for verb in ("decode", "suppress", "count_candidates")):
        return Parts(forward, network.detections, lambda found, _confidence: found)
    return Parts(
        forward,
        network.decode,
        lambda candidates, confidence: network.suppress(candidates, image_size, confidence=confidence),
        lambda candidates, confidence: network.count_candidates(candidates, confidence=confidence),
    )


def measure_latency(
    networks: Mapping[str, Parts],
    images: Sequence[Tensor],
    *,
    confidence: float = PROTOCOLS["paper"],
    warmup: int = 3,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Median and interquartile range of each part of each network, in milliseconds a batch.

    In every iteration all networks see the same batch, one after the other, and another one goes first.

    Args:
        networks: By name.
        images: Batches [B, 3, H, W] of one shape and device, used in turn: NMS depends on what an image shows.
        confidence: Of use, in [0.001, 1]: from which on NMS counts boxes. NMS from COCO's on is timed beside it.
        warmup: Iterations that are run and not counted.
        repeats: Iterations that are counted.
        clock: Seconds, monotonic.
    """
    _check(images, warmup, repeats)
    check_confidence("latency.confidence", confidence)
    names = list(networks)
    floors = (confidence, PROTOCOLS["coco"])
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in names}
    candidates: dict[str, list[list[int]]] = {name: [] for name in names}
    # Not inference_mode: a grid that a network caches in its first forward would be barred from autograd for ever.
    with torch.no_grad():
        for iteration in range(warmup + repeats):
            first = iteration % len(names)
            for name in names[first:] + names[:first]:
                times, counts = _time_once(networks[name], images[iteration % len(images)], floors, clock)
                if iteration >= warmup:
                    seconds[name].append(times)
                    candidates[name].append(counts)
    return {
        name: _summary(np.stack(seconds[name]), np.mean(candidates[name], axis=0), images[0], confidence=confidence)
        for name in names
    }


def check_confidence(name: str, confidence: float) -> None:
    """Refuse a confidence of use that is none, by the name of its setting.

    Raises:
        InputError: It is no number in [0.001, 1].
    """
    plain = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if not plain or not PROTOCOLS["coco"] <= confidence <= 1:
        raise InputError(f"{name}: expected a number in [{PROTOCOLS['coco']}, 1], got {confidence!r}")


def _time_once(
    network: Parts, batch: Tensor, floors: Sequence[float], clock: Callable[[], float]
) -> tuple[np.ndarray, list[int]]:
    """Seconds of forward, decode and NMS from each floor on; the number of candidates at each, none where not counted.

    The floors come in the order in which a product would pay for them: what one leaves in the caches helps the next.
    """
    times = [_now(clock, batch.device)]
    raw = network.forward(batch)
    times.append(_now(clock, batch.device))
    decoded = network.decode(raw)
    times.append(_now(clock, batch.device))
    for floor in floors:
        network.nms(decoded, floor)
        times.append(_now(clock, batch.device))
    count = network.count_candidates
    return np.diff(times), [count(decoded, floor) for floor in floors] if count else []


def _summary(seconds: np.ndarray, candidates: np.ndarray, batch: Tensor, *, confidence: float) -> Latency:
    """Seconds [repeats, 4] and mean candidates a batch, [2] or none, -> what the record keeps."""
    batch_size, _, height, width = batch.shape
    used, coco = (_suppressed(seconds, candidates, index, batch_size) for index in range(2))
    return Latency(
        **used,
        forward=_spread(seconds[:, 0]),
        decode=_spread(seconds[:, 1]),
        confidence=confidence,
        coco=coco,
        batch_size=batch_size,
        image_size=[height, width],
        repeats=len(seconds),
        device=batch.device.type,
        device_name=device_name(batch.device),
        dtype=str(batch.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        load=_load(),
    )


def _suppressed(seconds: np.ndarray, candidates: np.ndarray, index: int, batch_size: int) -> Suppressed:
    """NMS from one of the floors on, with the forward pass and decoding before it."""
    return Suppressed(
        nms=_spread(seconds[:, 2 + index]),
        total=_spread(seconds[:, [0, 1, 2 + index]].sum(axis=1)),
        candidates=float(candidates[index]) / batch_size if len(candidates) else None,
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
