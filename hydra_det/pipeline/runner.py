"""One run: reads and checks everything first, then runs stages, scores networks and writes the record."""

import functools
import json
import logging
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from hydra_det.attacks import ATTACKS
from hydra_det.compaction.channels import layout
from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.files import COMPACT
from hydra_det.files.atomic import TEMPORARY, write_atomically
from hydra_det.modules.masked_conv import masks_of
from hydra_det.modules.weights import read_weights
from hydra_det.pipeline import board, build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.check import SEARCHED, check, check_anchors
from hydra_det.pipeline.plan import PLANNED, describe, plan_stages
from hydra_det.pipeline.scoring import latency, score, sizes
from hydra_det.pipeline.stages import LOGS, Stage, StageRunner
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.sparsity import count_sparsity
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import RECORD_NAME, Attack, NetworkMetrics, Record, RecordError, read_record, write_record
from hydra_det.reports.tables.terminal import run_table, show
from hydra_det.store.links import link, link_content
from hydra_det.store.store import Store, fingerprint
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
        self.config = {key: part for key, part in config.items() if key not in SEARCHED}
        self.folder = folder
        self.choices = choices
        self.overrides = overrides
        dry = config["dry_run"]
        if not dry and self._earlier(("model",)) is None:
            self._remove_stale_record()
        check(config)
        self.data = build.data(config)
        self.data.prepare()
        self.data.evaluation_passes = 1 if build.instantiate(config["attack"]) is None else 2
        self.model = build.model_config(config, self.data)
        check_anchors(self.model)
        build.network(self.model)
        masked = build.masked_network(self.model, config["prune"]["exclude"])
        mask_plan(build.instantiate(config["prune"]), layout(masked))
        self.store = Store(Path(config["store"]))
        self.runner = StageRunner(config, data=self.data, model=self.model, store=self.store)
        self.stages: list[Stage] = []
        if not dry and self.finished is None:
            self._remove_stale_record()
            self._write_inputs()

    @functools.cached_property
    def finished(self) -> Record | None:
        """The record in this folder, if it is that of this very config and these images."""
        record = self._earlier(())
        if record is None or record.dataset["fingerprint"] != self._images():
            return None
        log.info("record: found finished (%s)", self.folder / RECORD_NAME)
        return record

    def show_plan(self) -> None:
        """Say what would run and how long it takes; nothing is run."""
        planned = [] if self.finished else plan_stages(self.runner)
        PLANNED.append(planned)
        log.info("%s: %s", self._name(), describe(planned) if planned else "finished")

    def stage(self, name: str, parent: Stage | None = None) -> Stage:
        """The result of a stage: found in the store, resumed, or run now."""
        self._follow(name, parent)
        stage = self.runner.run(name, parent)
        self.stages.append(stage)
        self._show(stage)
        return stage

    def evaluate(self, stage: Stage, *, name: str) -> Scored:
        """AP clean and attacked of the network after a stage; its files go to the folder `name`."""
        log.info("evaluate: %s network", name)
        net = self.runner.network(stage)
        metrics, folder = score(net, self.config, data=self.data, store=self.store, stage=stage)
        rank_zero_only(link)(folder, self.folder / name)
        return Scored(stage, metrics)

    def finish(self, *, dense: Scored, pruned: Scored) -> Record:
        """Count what the saved mask keeps, time the networks in turn, write the record, show the table."""
        config = self.config
        networks = comparable(self.runner.network(dense.stage), self.runner.network(pruned.stage))
        record = Record(
            name=self._name(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=self._resolved(),
            seed=config["seed"],
            overrides=self.overrides,
            versions=collect_versions(),
            commit=current_commit(),
            dataset={
                "name": self.data.name,
                "fingerprint": self._images(),
                "classes": self.data.class_names,
                **{split: len(ids) for split, ids in self.data.chosen_ids().items()},  # type: ignore[typeddict-item]
            },
            sparsity=self._sparsity(),  # type: ignore[arg-type]
            stages=[stage.summary() for stage in self.stages],  # type: ignore[misc]
            metrics={"dense": dense.metrics, "pruned": pruned.metrics},
            latency=latency(networks, config, self.data),
            sizes=sizes(networks, self.data.image_size),
            attack=threat_model(config["evaluation"]["attack"]),
        )
        self._report(record)
        return record

    def _name(self) -> str:
        prune = self.config["prune"]
        words = [self.choices[group] for group in ("data", "model", "init", "prune")]
        words += [prune["allocation"]] if prune["allocation"] != "uniform" else []
        return "_".join([*words, str(prune["ratio"]), f"seed{self.config['seed']}"])

    def _sparsity(self) -> dict[str, Any]:
        """Counted from the file of the last stage, not from what the masks should be."""
        prune, tensors = self.config["prune"], read_weights(self.stages[-1].weights)
        masks = {name.removesuffix(".mask"): tensor for name, tensor in tensors.items() if name.endswith(".mask")}
        order = masks_of(self.runner.network(self.stages[-1]))
        asked = {key: prune[key] for key in ("granularity", "allocation", "budget")}
        return {"ratio_asked": prune["ratio"], **asked, **count_sparsity({name: masks[name] for name in order})}

    def _images(self) -> str:
        return fingerprint(self.data.fingerprints)

    def _earlier(self, but: Sequence[str]) -> Record | None:
        """The record in this folder, if its config is this one but for some keys."""
        if not (self.folder / RECORD_NAME).is_file():
            return None
        try:
            record = read_record(self.folder / RECORD_NAME)
        except RecordError as error:
            log.warning("%s", error)
            return None
        asked = {**self.config, "choices": self.choices} if "model" in but else self._resolved()
        pair = (
            {key: config[key] for key in config if key not in (*but, "dry_run")} for config in (asked, record.config)
        )
        mine, earlier = (json.dumps(config, sort_keys=True) for config in pair)
        return record if mine == earlier else None

    def _resolved(self) -> dict[str, Any]:
        return {**self.config, "model": self.model, "choices": self.choices}

    @rank_zero_only
    def _write_inputs(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "config.yaml", build.to_yaml(self._resolved()))
        write_atomically(self.folder / "images.json", json.dumps(self.data.chosen_ids()) + "\n")

    @rank_zero_only
    def _remove_stale_record(self) -> None:
        """A folder whose run fails must not hold the record of an earlier run, nor what compact.py made of it."""
        (self.folder / RECORD_NAME).unlink(missing_ok=True)
        shutil.rmtree(self.folder / COMPACT, ignore_errors=True)
        shutil.rmtree(self.folder / board.FOLDER, ignore_errors=True)
        for half in self.folder.glob(f".*{TEMPORARY}"):  # of a process that was killed
            half.unlink(missing_ok=True)

    @rank_zero_only
    def _report(self, record: Record) -> None:
        board.write_result(self.folder, record)
        write_record(self.folder / RECORD_NAME, record)
        show(run_table(record))
        log.info("record: %s", self.folder / RECORD_NAME)

    @rank_zero_only
    def _follow(self, name: str, parent: Stage | None) -> None:
        """Let TensorBoard show a stage while it is trained."""
        key = self.runner.key(name, parent)
        if self.store.find(name, key) is None:
            logs = self.store.under_way(name, key) / LOGS
            board.show_stage(self.folder, len(self.stages) + 1, name, logs)

    @rank_zero_only
    def _show(self, stage: Stage) -> None:
        """Show what the last stage left. TensorBoard would find its logs twice, were they here as well."""
        link_content(stage.folder, self.folder / "stages" / stage.name, but=LOGS)
        board.show_stage(self.folder, len(self.stages), stage.name, stage.folder / LOGS)


def comparable(dense: nn.Module, pruned: nn.Module) -> dict[str, nn.Module]:
    """The dense, the masked and the compact network in one form, so that their times differ by what they compute only.

    Where compaction is refused the first two are left, with a warning.
    """
    try:
        return {"dense": as_graph(dense), "pruned": as_graph(pruned), COMPACT: compact(pruned).network}
    except InputError as error:
        log.warning("the pruned network is not timed as a smaller one: %s", error)
        return {"dense": dense, "pruned": pruned}


def threat_model(attack: Config) -> Attack:
    """What the record says of an attack, from its config."""
    made = build.instantiate(dict(attack))
    target = build.target(attack)
    name = next((name for name, known in ATTACKS.items() if known is target), attack["_target_"])
    said = {field: getattr(made, field, None) for field in Attack.__optional_keys__}
    return Attack(name=name, epsilon=getattr(made, "epsilon", 0.0), **said)  # type: ignore[typeddict-item]
