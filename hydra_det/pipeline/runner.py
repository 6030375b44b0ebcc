"""One run: reads and checks everything first, then runs stages, scores networks and writes the record."""

import functools
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.files import COMPACT
from hydra_det.data.datamodule import DetectionData
from hydra_det.modules.masked_conv import masks_of
from hydra_det.pipeline import build, description, run_folder, tensorboard
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.check import SEARCHED, check
from hydra_det.pipeline.check_network import check_network
from hydra_det.pipeline.plan import PLANNED, describe, plan_stages
from hydra_det.pipeline.precision import say_choice, settled
from hydra_det.pipeline.scoring import latency, score, sizes
from hydra_det.pipeline.stages.stage import LOGS, Stage
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import RECORD_NAME, NetworkMetrics, Record
from hydra_det.reports.tables.terminal import run_table, show
from hydra_det.store.links import link
from hydra_det.store.store import Store
from hydra_det.types import InputError

log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """A network after a stage, and its AP clean and attacked."""

    stage: Stage
    metrics: NetworkMetrics


class Run:
    """A run of the pipeline.

    Making one reads the data, the weights and every part of the config: what is wrong with them is said before
    anything is trained.

    Args:
        config: the whole config.
        folder: of this run; the record and the detections go there.
        choices: the config groups that were chosen, for the record.
        overrides: what was typed, for the record.
    """

    def __init__(self, config: Config, folder: Path, *, choices: dict[str, str], overrides: list[str]) -> None:
        asked, config = config, settled(config)
        self.config = {key: part for key, part in config.items() if key not in SEARCHED}
        self.folder = folder
        self.choices = choices
        self.overrides = overrides
        self.stages: list[Stage] = []
        self._forget_another_run()
        check(config)
        self.data = read_data(config)
        self.model = build.model_config(config, self.data)
        check_network(config, self.model, image_size=self.data.image_size)
        self.store = Store(Path(config["store"]))
        self.runner = StageRunner(config, data=self.data, model=self.model, store=self.store)
        say_choice(asked, config)
        self._begin()

    def _forget_another_run(self) -> None:
        """What is wrong with this run is not to be found beside the record of another one; no model is known yet."""
        asked = {**self.config, "choices": self.choices}
        if not self.config["dry_run"] and run_folder.earlier_record(self.folder, asked, but=("model",)) is None:
            run_folder.remove_stale(self.folder)

    def _begin(self) -> None:
        if not self.config["dry_run"] and self.finished is None:
            run_folder.remove_stale(self.folder)
            run_folder.write_inputs(self.folder, self._resolved(), self.data.chosen_ids())

    @functools.cached_property
    def finished(self) -> Record | None:
        """The record in this folder, if it is that of this very config and these images."""
        record = run_folder.earlier_record(self.folder, self._resolved())
        if record is None or record.dataset["fingerprint"] != description.images_fingerprint(self.data):
            return None
        log.info("record: found finished (%s)", self.folder / RECORD_NAME)
        return record

    def show_plan(self) -> None:
        """Say what would run and how long it takes; nothing is run."""
        planned = [] if self.finished else plan_stages(self.runner)
        PLANNED.append(planned)
        name = description.run_name(self.config, self.choices)
        log.info("%s: %s", name, describe(planned) if planned else "finished")

    def stage(self, name: str, parent: Stage | None = None) -> Stage:
        """The result of a stage: found in the store, resumed, or run now."""
        self._follow(name, parent)
        stage = self.runner.run(name, parent)
        self.stages.append(stage)
        run_folder.show_finished(self.folder, len(self.stages), stage)
        return stage

    def evaluate(self, stage: Stage, *, name: str) -> Scored:
        """AP clean and attacked of the network after a stage; its files go to the folder `name`."""
        log.info("evaluate: %s network", name)
        net = self.runner.network(stage)
        metrics, folder = score(net, self.config, data=self.data, store=self.store, origin=stage.origin)
        rank_zero_only(link)(folder, self.folder / name)
        return Scored(stage, metrics)

    def finish(self, *, dense: Scored, pruned: Scored) -> Record:
        """Count what the saved mask keeps, time the networks in turn, write the record, show the table."""
        config, last = self.config, self.stages[-1]
        networks = comparable(self.runner.network(dense.stage), self.runner.network(pruned.stage))
        record = Record(
            name=description.run_name(config, self.choices),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=self._resolved(),
            seed=config["seed"],
            overrides=self.overrides,
            versions=collect_versions(),
            commit=current_commit(),
            dataset=description.dataset(self.data),  # type: ignore[arg-type]
            sparsity=description.sparsity(  # type: ignore[arg-type]
                config["prune"], last.weights, order=masks_of(self.runner.network(last))
            ),
            stages=[stage.summary() for stage in self.stages],  # type: ignore[misc]
            metrics={"dense": dense.metrics, "pruned": pruned.metrics},
            latency=latency(networks, config, self.data),
            sizes=sizes(networks, self.data.image_size),
            attack=description.threat_model(config["evaluation"]["attack"]),
        )
        self._report(record)
        return record

    def _resolved(self) -> dict[str, Any]:
        return {**self.config, "model": self.model, "choices": self.choices}

    @rank_zero_only
    def _follow(self, name: str, parent: Stage | None) -> None:
        """Let TensorBoard show a stage while it is trained."""
        key = self.runner.key(name, parent)
        if self.store.find(name, key) is None:
            logs = self.store.under_way(name, key) / LOGS
            tensorboard.show_stage(self.folder, len(self.stages) + 1, name, logs)

    @rank_zero_only
    def _report(self, record: Record) -> None:
        run_folder.write_result(self.folder, record)
        show(run_table(record))
        log.info("record: %s", self.folder / RECORD_NAME)


def read_data(config: Config) -> DetectionData:
    """The images of a run, whose test images are gone through clean and, where there is an attack, attacked."""
    data = build.data(config)
    data.prepare()
    data.evaluation_passes = 1 if build.instantiate(config["attack"]) is None else 2
    return data


def comparable(dense: nn.Module, pruned: nn.Module) -> dict[str, nn.Module]:
    """The dense, the masked and the compact network in one form, so that their times differ by what they compute only.

    Where compaction is refused the first two are left, with a warning.
    """
    try:
        return {"dense": as_graph(dense), "pruned": as_graph(pruned), COMPACT: compact(pruned).network}
    except InputError as error:
        log.warning("the pruned network is not timed as a smaller one: %s", error)
        return {"dense": dense, "pruned": pruned}
