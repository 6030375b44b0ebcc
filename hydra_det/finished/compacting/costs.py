"""What networks cost: time in every engine, operations, and bytes on disk and in memory."""

import logging
import multiprocessing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_det.compaction.counts import count_flops, count_parameters
from hydra_det.compaction.files import WEIGHTS, load_compact
from hydra_det.data.datamodule import DetectionData
from hydra_det.engines.registry import in_engine
from hydra_det.evaluation.latency import Parts, measure_latency
from hydra_det.evaluation.memory import peak_memory
from hydra_det.modules.graph import GraphDetector
from hydra_det.pipeline.build import Config
from hydra_det.records.record import EngineLatency, NetworkSize

log = logging.getLogger(__name__)


def engine_latency(
    engine: str,
    networks: Mapping[str, GraphDetector],
    settings: Config,
    *,
    data: DetectionData,
    sample: Tensor,
    at: Callable[[str], Path],
) -> list[EngineLatency]:
    """Forward, decode and NMS of all networks, which take turns, in one engine.

    Args:
        engine: a key of `ENGINES`.
        networks: by name.
        settings: `latency` of `conf/compact.yaml`.
        data: whose test images are timed.
        sample: [N, 3, S, S], images to calibrate with.
        at: the folder of the files of a network.
    """
    size, parts, answer = (data.image_size, data.image_size), {}, []
    for name, network in networks.items():
        forward, _ = in_engine(engine, network, at(name), sample, threads=torch.get_num_threads())
        suppress = partial(network.suppress, image_size=size)
        parts[name] = Parts(forward, network.decode, suppress, network.count_candidates)
    for batch_size in settings["batch_sizes"]:
        log.info("time: %s, batches of %d", engine, batch_size)
        images = batches(data.dataset("test"), batch_size, count=settings["images"])
        found = measure_latency(parts, images, warmup=settings["warmup"], repeats=settings["repeats"])
        answer += [EngineLatency(network=name, engine=engine, latency=found[name]) for name in parts]
    return answer


def network_size(network: GraphDetector, folder: Path, *, image_size: int) -> NetworkSize:
    """Parameters, operations, bytes on disk and in memory of a network whose files lie in a folder."""
    return NetworkSize(
        parameters=count_parameters(network),
        flops=count_flops(network, image_size),
        file_bytes=(folder / WEIGHTS).stat().st_size,
        peak_bytes=_peak(folder, image_size),
    )


def batches(samples: Any, batch_size: int, *, count: int) -> list[Tensor]:
    """Whole batches of the first images, of which there are at most `count` but one batch at least."""
    images = [samples[(0, index % len(samples))][0] for index in range(max(1, count // batch_size) * batch_size)]
    return [torch.stack(images[first : first + batch_size]) for first in range(0, len(images), batch_size)]


def _peak(folder: Path, image_size: int) -> int | None:
    """Bytes that a network needs for one image above itself, in a process that has run nothing before."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (folder, image_size))


def _peak_here(folder: Path, image_size: int) -> int:
    network, _ = load_compact(folder)
    images = torch.rand(1, 3, image_size, image_size)
    with torch.no_grad():
        return peak_memory(lambda: network(images))
