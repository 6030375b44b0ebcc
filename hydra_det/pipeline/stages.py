"""What a stage is, what its result depends on, and how one is trained."""

import contextlib
import functools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, Timer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from hydra_det.callbacks.stage_checkpoint import StageCheckpoint
from hydra_det.callbacks.watching.numbers_watch import NumbersWatch
from hydra_det.callbacks.watching.progress import EpochLine, LastEpochValidation, StageBar
from hydra_det.callbacks.watching.whereabouts import Whereabouts
from hydra_det.data.datamodule import DetectionData
from hydra_det.evaluation.latency import device_name
from hydra_det.modules.detector import Detector
from hydra_det.modules.weights import load_weights, save_weights, weights_hash
from hydra_det.pipeline import build, out_of_memory
from hydra_det.pipeline.build import Config
from hydra_det.process import processes
from hydra_det.store.checkpoints import LAST, CheckpointFiles, resumable
from hydra_det.store.store import Store, fingerprint

log = logging.getLogger(__name__)

STAGES = ("pretrain", "init_scores", "train_scores", "prune", "finetune")
WEIGHTS, LOGS = "weights.safetensors", "tensorboard"
# What a stage does not depend on; all else of these groups is in its fingerprint, also what a user adds. Of the data
# everything that chooses images is here, as the images themselves are in the fingerprint.
INDIFFERENT_DATA = (
    "_target_", "name", "root", "train_annotations", "val_annotations", "test_annotations", "train_images_dir",
    "val_images_dir", "test_images_dir", "train_labels_dir", "val_labels_dir", "test_labels_dir", "train_list",
    "val_list", "test_list", "images_dir", "annotations_dir", "names", "classes", "one_based",
    "difficult", "canvas", "train_size", "test_size", "drawing_seed", "train_images",
    "val_images", "test_images", "subset_seed", "strict", "allow_overlap", "workers", "cache_images",
    "evaluation_batch_size",
)  # fmt: skip
INDIFFERENT_TRAINER = (
    "_target_", "accelerator", "strategy", "devices", "num_nodes", "benchmark", "deterministic", "inference_mode",
    "profiler", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "check_val_every_n_epoch",
    "val_check_interval", "limit_val_batches", "num_sanity_val_steps",
)  # fmt: skip
OBSERVERS = "hydra_det.callbacks."  # callbacks of every stage that come with the package only look


@dataclass(frozen=True)
class Stage:
    """A finished stage: what the next one starts from.

    Attributes:
        name: one of `STAGES`.
        key: its fingerprint.
        folder: where its weights lie.
        seconds: that it took when it was run.
        facts: what its callbacks found out, for the record.
        reused: it was there already.
    """

    name: str
    key: str
    folder: Path
    seconds: float
    facts: Mapping[str, Any]
    reused: bool

    @property
    def weights(self) -> Path:
        """The state of the network after this stage."""
        return self.folder / WEIGHTS

    def summary(self) -> dict[str, Any]:
        """For the record."""
        return {
            "name": self.name,
            "fingerprint": self.key,
            "seconds": self.seconds,
            "reused": self.reused,
            "folder": str(self.folder),
            "facts": dict(self.facts),
        }


class StageRunner:
    """Runs stages, or finds them in the store.

    Args:
        config: the whole config.
        data: prepared.
        model: from `build.model_config`.
        store: of finished stages.
    """

    def __init__(self, config: Config, *, data: DetectionData, model: Mapping[str, Any], store: Store) -> None:
        self.config = config
        self.data = data
        self.model = model
        self.bare = {**model, "weights": None}  # where a stage has a parent, weights come from there
        self.store = store

    def key(self, name: str, parent: Stage | None) -> str:
        """Fingerprint of a stage: its config, the data, the seed, and its parent or, for the first one, the model."""
        config = self.config
        data = {key: value for key, value in config["data"].items() if key not in INDIFFERENT_DATA}
        trainer = {key: value for key, value in config["trainer"].items() if key not in INDIFFERENT_TRAINER}
        added = {key: part for key, part in config["callbacks"].items() if not part["_target_"].startswith(OBSERVERS)}
        start = {"parent": parent.key} if parent else {"model": self._model_identity()}
        return fingerprint({
            "stage": name,
            "config": config["stage"][name],
            "data": {"images": self.data.fingerprints["train"], "config": data},
            "trainer": {**trainer, "processes": self._processes},
            "callbacks": added,
            "seed": config["seed"],
            **({"out_of_memory": out_of_memory.HALVE} if self._may_halve(name) else {}),
            **({"measured_on": self._machine()} if config["prune"]["budget"] == "latency" else {}),
            **start,
        })  # fmt: skip

    def _machine(self) -> dict[str, Any]:
        """What a budget of time was measured on."""
        device = build.bare_trainer(self.config).strategy.root_device
        return {"device": device_name(device), "threads": torch.get_num_threads()}

    def run(self, name: str, parent: Stage | None = None) -> Stage:
        """The result of a stage: found, resumed or run."""
        processes.join(lambda: build.bare_trainer(self.config))
        key = self.key(name, parent)
        with contextlib.ExitStack() as claimed:
            missing = processes.agreed(
                lambda: self.store.claim_missing(name, key, claimed, meanwhile=processes.still_waiting)
            )
            if missing:
                self._train(name, key, parent)
        about = self.store.find(name, key)
        assert about is not None, f"stage {name} was not published"
        folder = self.store.folder(name, key)
        if not missing:
            log.info("%s: found finished (%s)", name, folder)
        return Stage(name, key, folder, about["seconds"], about.get("facts", {}), not missing)

    def network(self, stage: Stage) -> nn.Module:
        """The network after a stage, masked where the stage is."""
        return self._network(self.config["stage"][stage.name], stage.weights)

    @functools.cached_property
    def _processes(self) -> int:
        """How many the trainer starts; asked only for training: elsewhere its devices may be absent."""
        return build.bare_trainer(self.config).world_size

    def _train(self, name: str, key: str, parent: Stage | None) -> None:
        fit = functools.partial(self._fit, name, key, parent)
        if self._may_halve(name):
            out_of_memory.fit_in_memory(fit, name=name, data=self.data, folder=self.store.partial(name, key))
        else:
            fit()

    def _may_halve(self, name: str) -> bool:
        """Whether a stage may be trained with smaller batches than its config says."""
        trains = bool(self.config["stage"][name]["epochs"])
        return trains and out_of_memory.choice(self.config) == out_of_memory.HALVE

    def _fit(self, name: str, key: str, parent: Stage | None) -> None:
        config, spec = self.config, self.config["stage"][name]
        partial = self.store.partial(name, key)
        # Every stage starts from the same state of the generators, whatever ran before it in this process.
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        net = self._start(spec, parent)
        if self.model.get("compile") and spec["epochs"]:
            net.compile()  # in place: the names of its weights stay
        optimizer = build.instantiate(spec["optimizer"]) if spec["optimizer"] else None
        detector = Detector(net, optimizer=optimizer, warmup_steps=spec["warmup_steps"])
        callbacks, timer = self._callbacks(name, partial), Timer()
        logger = TensorBoardLogger(partial, name="", version=LOGS)
        trainer = build.trainer(
            config,
            max_epochs=spec["epochs"],
            callbacks=[*callbacks, timer],
            logger=logger,
            default_root_dir=str(partial),
        )
        trainer.strategy.checkpoint_io = CheckpointFiles()
        resumed = resumable(partial)
        log.info("%s: %s", name, f"goes on from {resumed}" if resumed else "starts")
        start = time.perf_counter()
        with processes.together():
            trainer.fit(detector, datamodule=self.data, ckpt_path=resumed, weights_only=True)
        # The timer's state is in the checkpoint: it counts the time before an interruption too.
        seconds = round(max(timer.time_elapsed("train"), time.perf_counter() - start), 2)
        if trainer.is_global_zero:
            logger.finalize("success")
            save_weights(net, partial / WEIGHTS)
            facts = {fact: value for callback in callbacks for fact, value in getattr(callback, "facts", {}).items()}
            about = {"name": name, "fingerprint": key, "parent": parent.key if parent else None, "seconds": seconds}
            self.store.publish(name, key, {**about, "facts": facts, "config": spec, "seed": config["seed"]})
        trainer.strategy.barrier()

    def _start(self, spec: Config, parent: Stage | None) -> nn.Module:
        if parent is None:
            return build.network(self.model)
        if self.config["stage"][parent.name]["masked"] == spec["masked"]:
            return self._network(spec, parent.weights)
        net = build.network(self.bare)
        load_weights(net, parent.weights)
        return build.make_masked(net, exclude=spec["exclude"])

    def _network(self, spec: Config, weights: Path) -> nn.Module:
        net = build.masked_network(self.bare, spec["exclude"]) if spec["masked"] else build.network(self.bare)
        load_weights(net, weights)
        return net

    def _callbacks(self, name: str, partial: Path) -> list[pl.Callback]:
        config, spec = self.config, self.config["stage"][name]
        parts = [part for group in (spec["callbacks"], config["callbacks"]) for part in group.values()]
        # An option that is switched off is None.
        made = [callback for part in parts if (callback := build.instantiate(part)) is not None]
        made = [Whereabouts(name=name), *made, EpochLine(name=name), NumbersWatch(name=name)]
        made += out_of_memory.smaller_batch(partial)
        if spec["epochs"]:
            made += [LearningRateMonitor(), LastEpochValidation()]
            made.append(StageCheckpoint(partial / LAST, minutes=config["checkpoint_minutes"]))
        if build.wants_bar(config):
            made.append(StageBar())
        return made

    def _model_identity(self) -> dict[str, Any]:
        """The model's config; a file of weights counts by its content, suppression only when a network is scored.

        How it is computed (`channels_last`, `compile`) changes rounding only and does not count, like the device.
        """
        identity = {key: value for key, value in self.model.items() if key not in (*build.MODEL_OPTIONS, "nms")}
        if self.model.get("weights"):
            identity["weights"] = weights_hash(Path(self.model["weights"]))
        return identity
