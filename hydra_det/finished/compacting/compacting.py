"""From a finished run to a smaller network, in the files of several runtimes, with AP and time of each.

Everything is made in a folder beside the final one, which takes its name when it is complete.
"""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.files import COMPACT, load_compact, save_compact
from hydra_det.engines.engine import Forward
from hydra_det.engines.registry import is_foreign
from hydra_det.finished.compacting.costs import batches, engine_latency, network_size
from hydra_det.finished.compacting.detector import export_detector, usual_suppression
from hydra_det.finished.compacting.exporting import COMPARED, export
from hydra_det.finished.compacting.settings import asked_engines
from hydra_det.finished.compacting.workplace import Workplace
from hydra_det.finished.in_engine import InEngine
from hydra_det.finished.run import FinishedRun, compact_variant
from hydra_det.finished.scored import on_cpu
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.masked_conv import make_dense
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.scoring import score
from hydra_det.process.apart import Apart, DiedError
from hydra_det.process.interrupts import stop_if_asked
from hydra_det.records.record import (
    RECORD_NAME,
    Compaction,
    EngineLatency,
    EngineResult,
    NetworkSize,
    Record,
    write_record,
)
from hydra_det.types import InputError

log = logging.getLogger(__name__)

NETWORKS = ("dense", "masked", COMPACT)


class Compacting:
    """A finished run whose pruned network is made small.

    Making one checks the settings, and reads the run and its images.

    Args:
        settings: as in `conf/compact.yaml`.

    Attributes:
        record: of the run, as it was written.
        folder: where the compact network is to lie.
        partial: where it is made.
    """

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self.engines = asked_engines(settings)
        self.run = FinishedRun(settings["run"], trusted=settings["trust"])
        self.record = self.run.record
        self.data = self.run.data
        self.data.prepare()
        self.place = Workplace(self.run.folder)
        self.crashed: dict[str, str] = {}  # by engine: how
        self._open = contextlib.ExitStack()
        self.folder, self.partial = self.place.final, self.place.partial

    def __enter__(self) -> "Compacting":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self.place.leave()

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
        found = {"dense": as_graph(self.run.network("dense")), "masked": as_graph(make_dense(pruned))}
        for name, network in found.items():
            save_compact(self.place.at(name), network, about)
        # What is measured is what was written.
        make = self.run.make
        return {name: load_compact(self.place.at(name), make=make)[0] for name in (*found, COMPACT)}, differences

    def export(self, network: GraphDetector) -> dict[str, tuple[Forward, EngineResult]]:
        """The compact network in every engine: written, opened, and its raw maps compared with torch.

        Engines of other runtimes live in processes of their own; one that crashes is left out.

        Raises:
            InputError: an engine answers something else.
        """
        with torch.no_grad():
            wanted = network(self.sample[:COMPARED])
        options: dict[str, Any] = {"sample": self.sample, "wanted": wanted, "threads": torch.get_num_threads()}
        options["make"] = self.run.make
        exported = {}
        for name in self.engines:
            apart = self._open.enter_context(Apart()) if is_foreign(name) else None
            with self._or_left_out(name):
                exported[name] = export(name, self.partial, apart=apart, **options)
        self._export_detector(network)
        return exported

    def _export_detector(self, network: GraphDetector) -> None:
        """The files for programs without us, where a runtime is asked for that reads them."""
        output, name = self.settings["export"]["output"], type(network).__name__
        if output != "raw" and not hasattr(network, "decode"):
            log.warning(
                "detector.onnx is not written: expected export.output=raw for %s, which has no boxes before "
                "suppression, got %s", name, output,
            )  # fmt: skip
            return
        if output == "detections" and usual_suppression(network) is None:
            log.warning(
                "detector.onnx is not written: expected export.output=decoded or raw for %s, which has a suppression "
                "of its own, got %s", name, output,
            )  # fmt: skip
            return
        runtimes = [name for name in self.engines if is_foreign(name) and name not in self.crashed]
        if runtimes:
            with Apart() as apart, self._or_left_out("detector.onnx"):
                export_detector(
                    self.partial, network, sample=self.sample, **self.settings["export"], apart=apart,
                    openvino=any(name.startswith("openvino") for name in runtimes), make=self.run.make,
                )  # fmt: skip

    def score(self, network: GraphDetector, exported: dict[str, tuple[Forward, EngineResult]]) -> list[EngineResult]:
        """AP in every engine, clean and on images that the attack of the run made on the torch network."""
        if not self.settings["evaluate"]:
            return [result for _, result in exported.values()]
        run, stage = self.run, self.run.stage("pruned")
        config = on_cpu(run.config)
        answer = []
        for name, (forward, result) in exported.items():
            log.info("evaluate: compact network in %s", name)
            options = {} if name == "torch" else {key: self.settings[key] for key in ("calibration_images",)}
            with self._or_left_out(name):
                metrics, _ = score(
                    InEngine(network, forward),
                    config,
                    data=self.data,
                    store=run.store,
                    origin={**stage.origin, **compact_variant(self.place.at(COMPACT), name, **options)},
                    attacked=network,
                )
                answer.append(EngineResult(**{**result, "metrics": metrics}))
        self._open.close()  # the engines that were scored: what is timed is alone
        return answer

    def time(self) -> list[EngineLatency]:
        """Forward, decode and NMS of all networks, which take turns within an engine."""
        settings = self.settings["latency"]
        images = {
            size: batches(self.data.dataset("test"), size, count=settings["images"]) for size in settings["batch_sizes"]
        }
        options: dict[str, Any] = {"images": images, "sample": self.sample, "threads": torch.get_num_threads()}
        options["make"] = self.run.make
        folders = {name: self.place.at(name) for name in NETWORKS}
        answer = []
        for name in (name for name in self.engines if name not in self.crashed):
            stop_if_asked()
            with self._or_left_out(name):
                if is_foreign(name):
                    with Apart() as apart:
                        answer += apart.call(engine_latency, name, folders, settings, **options)
                else:
                    answer += engine_latency(name, folders, settings, **options)
        return answer

    def sizes(self, networks: dict[str, GraphDetector]) -> dict[str, NetworkSize]:
        """Parameters, operations, bytes on disk and in memory."""
        size = self.data.image_size
        make = self.run.make
        return {
            name: network_size(net, self.place.at(name), image_size=size, make=make) for name, net in networks.items()
        }

    def publish(self, compaction: Compaction) -> None:
        """Move the files to their place and write the record; nothing is timed yet."""
        path = self.run.folder / RECORD_NAME
        write_record(path, dataclasses.replace(self.record, compaction=None))  # until the files are those of the record
        self.place.complete()
        write_record(path, dataclasses.replace(self.record, compaction=compaction))

    def finish(self, compaction: Compaction) -> Record:
        """Write the record with the times."""
        record = dataclasses.replace(self.record, compaction=compaction)
        write_record(self.run.folder / RECORD_NAME, record)
        return record

    def check_complete(self) -> None:
        """Refuse to end well where an engine crashed.

        Raises:
            InputError: which ones, by what; all else is in the record.
        """
        if self.crashed:
            said = "; ".join(f"{name} {how}" for name, how in self.crashed.items())
            raise InputError(
                f"engines: expected all to live, {said}; what the others gave is in {self.folder}, leave these out of "
                "engines= or type the same command again"
            )

    @contextlib.contextmanager
    def _or_left_out(self, name: str) -> Iterator[None]:
        """An engine that crashes takes nothing with it."""
        try:
            yield
        except DiedError as error:
            log.error("error: engine %s %s; it is left out, the others go on", name, error)
            self.crashed[name] = str(error)

    @functools.cached_property
    def sample(self) -> Tensor:
        """Training images without augmentation. [N, 3, S, S]"""
        loader: Any = self.data.sample_loader(self.settings["calibration_images"], batch_size=1)
        return torch.cat([batch["images"] for batch in loader])
