"""From a finished run to a smaller network, in the files of several runtimes, with AP and time of each.

Everything is made in a folder beside the final one, which takes its name when it is complete.
"""

import dataclasses
import functools
import logging
import math
import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from torch import Tensor, nn

from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.counts import count_flops, count_parameters
from hydra_det.compaction.files import COMPACT, WEIGHTS, load_compact, save_compact
from hydra_det.engines.engine import Forward
from hydra_det.engines.engines import ENGINES, check_installed, in_engine
from hydra_det.evaluation.latency import Parts, measure_latency
from hydra_det.evaluation.memory import peak_memory
from hydra_det.files.locks import try_lock
from hydra_det.finished.run import FinishedRun, compact_variant
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.masked_conv import to_dense
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.scoring import score
from hydra_det.records.record import (
    RECORD_NAME,
    EngineLatency,
    EngineResult,
    NetworkSize,
    Record,
    write_record,
)
from hydra_det.types import Detections, InputError, LossTerms, Target

log = logging.getLogger(__name__)

ON_CPU = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "num_nodes": 1, "precision": "32-true"}


class Compacting:
    """A finished run whose pruned network is made small.

    Making one checks the settings, and reads the run and its images.

    Args:
        settings: as in `conf/compact.yaml`.
    """

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        if not isinstance(settings["engines"], list):
            raise InputError(f"engines: expected a list, as in engines=[openvino], got {settings['engines']}")
        self.engines: list[str] = list(dict.fromkeys(("torch", *settings["engines"])))
        check_installed(self.engines)
        _check_counts(settings)
        self.run = FinishedRun(settings["run"], trusted=settings["trust"])
        self.record = self.run.record
        self.data = self.run.data
        self.data.prepare()
        self.folder = self.run.folder / COMPACT
        self.partial = self.run.folder / f"{COMPACT}.partial"
        self._lock = _lock(self.run.folder)
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        self._scratch = tempfile.TemporaryDirectory()

    def __enter__(self) -> "Compacting":
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind that is not complete."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self._scratch.cleanup()
        self._lock.release()

    def networks(self) -> tuple[dict[str, GraphDetector], dict[str, float]]:
        """The dense, the masked and the compact network, and how much the answers of the last two differ.

        Raises:
            InputError: they are not equal, or the network cannot be compacted.
        """
        pruned = self.run.network("pruned")
        small, differences = compact(pruned, multiple=self.settings["multiple"])
        about = {
            "classes": self.run.class_names,
            "category_ids": list(self.data.category_ids),
            "image_size": self.data.image_size,
            "greyscale": self.data.greyscale,
            "fingerprint": self.run.stage("pruned").key,
        }
        save_compact(self.partial, small, about)
        found = {"dense": as_graph(self.run.network("dense")), "masked": as_graph(to_dense(pruned))}
        for name, network in found.items():
            save_compact(self._at(name), network, about)
        # What is measured is what was written.
        return {name: load_compact(self._at(name))[0] for name in (*found, COMPACT)}, differences

    def export(self, network: GraphDetector) -> dict[str, tuple[Forward, EngineResult]]:
        """The compact network in every engine: written, opened, and its raw maps compared with torch.

        Raises:
            InputError: an engine answers something else.
        """
        sample = self.sample[:8]
        with torch.no_grad():
            wanted = network(sample)
        found = {}
        for name in self.engines:
            forward, file = in_engine(name, network, self.partial, self.sample, threads=torch.get_num_threads())
            worst = _largest_difference(wanted, forward(sample))
            tolerance = ENGINES[name].tolerance or math.inf
            if not worst <= tolerance or math.isinf(worst):
                raise InputError(
                    f"engines: expected {name} to give the raw maps of torch within {tolerance} of their largest "
                    f"value, got a difference of {worst:.1e}; leave it out of engines="
                )
            log.info("%s: raw maps differ by %.1e of their largest value", name, worst)
            size = None if file is None else sum(part.stat().st_size for part in _parts_of(file))
            found[name] = forward, EngineResult(engine=name, file_bytes=size, difference=worst, metrics=None)
        return found

    def score(self, network: GraphDetector, exported: dict[str, tuple[Forward, EngineResult]]) -> list[EngineResult]:
        """AP in every engine, clean and on images that the attack of the run made on the torch network."""
        if not self.settings["evaluate"]:
            return [result for _, result in exported.values()]
        run, stage = self.run, self.run.stage("pruned")
        config = {**run.config, "trainer": {**run.config["trainer"], **ON_CPU}}
        answer = []
        for name, (forward, result) in exported.items():
            log.info("evaluate: compact network in %s", name)
            options = {} if name == "torch" else {key: self.settings[key] for key in ("calibration_images",)}
            metrics, _ = score(
                InEngine(network, forward),
                config,
                data=self.data,
                store=run.store,
                stage=stage,
                variant=compact_variant(self.partial, name, **options),
                attacked=network,
            )
            answer.append(EngineResult(**{**result, "metrics": metrics}))
        return answer

    def time(self, networks: dict[str, GraphDetector]) -> list[EngineLatency]:
        """Forward, decode and NMS of all networks, which take turns within an engine."""
        settings = self.settings["latency"]
        size = (self.data.image_size, self.data.image_size)
        answer = []
        for engine in self.engines:
            parts = {}
            for name, network in networks.items():
                forward, _ = in_engine(engine, network, self._at(name), self.sample, threads=torch.get_num_threads())
                suppress = partial(network.suppress, image_size=size)
                parts[name] = Parts(forward, network.decode, suppress, network.count_candidates)
            for batch_size in settings["batch_sizes"]:
                log.info("time: %s, batches of %d", engine, batch_size)
                images = self._test_images(batch_size, settings["images"])
                found = measure_latency(parts, images, warmup=settings["warmup"], repeats=settings["repeats"])
                answer += [EngineLatency(network=name, engine=engine, latency=found[name]) for name in parts]
        return answer

    def sizes(self, networks: dict[str, GraphDetector]) -> dict[str, NetworkSize]:
        """Parameters, operations, bytes on disk and in memory."""
        size = self.data.image_size
        return {
            name: NetworkSize(
                parameters=count_parameters(network),
                flops=count_flops(network, size),
                file_bytes=(self._at(name) / WEIGHTS).stat().st_size,
                peak_bytes=_peak(self._at(name), size),
            )
            for name, network in networks.items()
        }

    def finish(self, record: Record) -> None:
        """Move the files to their place and write the completed record."""
        path = self.run.folder / RECORD_NAME
        write_record(path, dataclasses.replace(self.record, compaction=None))  # until the files are those of the record
        shutil.rmtree(self.folder, ignore_errors=True)
        self.partial.rename(self.folder)
        write_record(path, record)

    def _at(self, name: str) -> Path:
        return self.partial if name == COMPACT else Path(self._scratch.name, name)

    @functools.cached_property
    def sample(self) -> Tensor:
        """Training images without augmentation. [N, 3, S, S]"""
        loader: Any = self.data.sample_loader(self.settings["calibration_images"], batch_size=1)
        return torch.cat([batch["images"] for batch in loader])

    def _test_images(self, batch_size: int, count: int) -> list[Tensor]:
        samples = self.data.dataset("test")
        images = [samples[(0, index % len(samples))][0] for index in range(max(1, count // batch_size) * batch_size)]
        return [torch.stack(images[first : first + batch_size]) for first in range(0, len(images), batch_size)]


class InEngine(nn.Module):
    """A detector whose raw maps come from an engine; there are no gradients in it.

    Args:
        network: the same one in torch, which knows what to do with raw maps.
        forward: of the engine.
    """

    def __init__(self, network: GraphDetector, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self.engine = forward

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> raw maps"""
        return self.engine(images)

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Those of the torch network."""
        return self.network.losses(raw, targets)

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """Those of the torch network."""
        return self.network.detections(raw)


def _lock(folder: Path) -> BaseFileLock:
    """The right to work in a run's folder."""
    lock = try_lock(folder / f".{COMPACT}.lock", setting="run")
    if lock is None:
        raise InputError(f"run: expected nobody else at work on {folder}, found another compact.py; wait")
    return lock


def _check_counts(settings: Config) -> None:
    latency = settings["latency"]
    sizes = latency["batch_sizes"]
    if not isinstance(sizes, list) or not sizes:
        raise InputError(f"latency.batch_sizes: expected a list, as in [1,8], got {sizes}")
    counts = {
        "multiple": (settings["multiple"], 1),
        "calibration_images": (settings["calibration_images"], 1),
        "latency.images": (latency["images"], 1),
        "latency.warmup": (latency["warmup"], 0),
        "latency.repeats": (latency["repeats"], 1),
        **{f"latency.batch_sizes[{index}]": (size, 1) for index, size in enumerate(sizes)},
    }
    for name, (value, least) in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def _largest_difference(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """As a share of the largest value of a raw map; infinite where something is not a number."""
    shares = [float((want - got).abs().max() / want.abs().max()) for want, got in zip(wanted, found, strict=True)]
    return max(math.inf if math.isnan(share) else share for share in shares)


def _parts_of(file: Path) -> list[Path]:
    """OpenVINO keeps the weights in a file of their own."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]


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
