"""What networks cost: time in every engine, operations, and bytes on disk and in memory."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_det.compaction.counts import count_flops, count_parameters
from hydra_det.compaction.files import WEIGHTS, Make, load_compact
from hydra_det.engines.registry import in_engine
from hydra_det.evaluation.latency import measure_latency, network_parts
from hydra_det.evaluation.memory import peak_memory
from hydra_det.modules.graph import GraphDetector
from hydra_det.pipeline.build import Config
from hydra_det.process.apart import Apart
from hydra_det.records.record import EngineLatency, NetworkSize

log = logging.getLogger(__name__)


def engine_latency(
    engine: str,
    folders: Mapping[str, Path],
    settings: Config,
    *,
    images: Mapping[int, Sequence[Tensor]],
    sample: Tensor,
    threads: int,
    make: Make | None = None,
) -> list[EngineLatency]:
    """Forward, decode and NMS of all networks, which take turns, in one engine.

    Args:
        engine: a key of `ENGINES`.
        folders: of the files of the networks, by name.
        settings: `latency` of `conf/compact.yaml`.
        images: that are timed, batches [B, 3, S, S] by their size B.
        sample: [N, 3, S, S], images to calibrate with.
        threads: of the CPU.
        make: of `load_compact`.
    """
    torch.set_num_threads(threads)
    height, width = sample.shape[-2:]
    parts = {}
    for name, folder in folders.items():
        network, _ = load_compact(folder, make=make)
        forward, _ = in_engine(engine, network, folder, sample, threads=threads)
        parts[name] = network_parts(network, forward, (height, width))
    answer = []
    for batch_size, chosen in images.items():
        log.info("time: %s, batches of %d", engine, batch_size)
        timing = {key: settings[key] for key in ("confidence", "warmup", "repeats")}
        found = measure_latency(parts, chosen, **timing)
        answer += [EngineLatency(network=name, engine=engine, latency=found[name]) for name in parts]
    return answer


def network_size(network: GraphDetector, folder: Path, *, image_size: int, make: Make | None = None) -> NetworkSize:
    """Parameters, operations, bytes on disk and in memory of a network whose files lie in a folder."""
    return NetworkSize(
        parameters=count_parameters(network),
        flops=count_flops(network, image_size),
        file_bytes=(folder / WEIGHTS).stat().st_size,
        peak_bytes=_peak(folder, image_size, make),
    )


def batches(samples: Any, batch_size: int, *, count: int) -> list[Tensor]:
    """Whole batches of the first images, of which there are at most `count` but one batch at least."""
    images = [samples[(0, index % len(samples))][0] for index in range(max(1, count // batch_size) * batch_size)]
    return [torch.stack(images[first : first + batch_size]) for first in range(0, len(images), batch_size)]


def _peak(folder: Path, image_size: int, make: Make | None) -> int | None:
    """Bytes that a network needs for one image above itself, in a process that has run nothing before."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    with Apart() as apart:
        return apart.call(_peak_here, folder, image_size, make)


def _peak_here(folder: Path, image_size: int, make: Make | None) -> int:
    network, _ = load_compact(folder, make=make)
    images = torch.rand(1, 3, image_size, image_size)
    with torch.no_grad():
        return peak_memory(lambda: network(images))
