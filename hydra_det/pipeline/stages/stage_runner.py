"""Runs the stages of a run one by one, or finds them in the store."""

import contextlib
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from hydra_det.data.datamodule import DetectionData
from hydra_det.modules.detector import Detector
from hydra_det.modules.weights import load_weights, save_weights
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.claiming import claim
from hydra_det.pipeline.stages import out_of_memory
from hydra_det.pipeline.stages.callbacks import stage_callbacks
from hydra_det.pipeline.stages.identity import stage_key
from hydra_det.pipeline.stages.stage import LOGS, WEIGHTS, Stage
from hydra_det.process import processes
from hydra_det.process.interrupts import stop_if_asked
from hydra_det.store.checkpoints import CheckpointFiles, resumable
from hydra_det.store.store import Store

log = logging.getLogger(__name__)


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
        self.bare = {**model, **dict.fromkeys(build.FILES)}  # where a stage has a parent, weights come from there
        self.store = store

    def key(self, name: str, parent: Stage | None) -> str:
        """The fingerprint of everything the result of a stage depends on."""
        return stage_key(name, parent, config=self.config, model=self.model, data=self.data, processes=self._processes)

    def run(self, name: str, parent: Stage | None = None) -> Stage:
        """The result of a stage: found, resumed or run."""
        stop_if_asked()
        processes.join(lambda: build.bare_trainer(self.config))
        key = self.key(name, parent)
        with contextlib.ExitStack() as claimed:
            missing = claim(self.store, name, key, claimed)
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
        if out_of_memory.may_halve(self.config, name):
            out_of_memory.fit_in_memory(fit, name=name, data=self.data, folder=self.store.partial(name, key))
        else:
            fit()

    def _fit(self, name: str, key: str, parent: Stage | None) -> None:
        spec, partial = self.config["stage"][name], self.store.partial(name, key)
        # Every stage starts from the same state of the generators, whatever ran before it in this process.
        pl.seed_everything(self.config["seed"], workers=True, verbose=False)
        detector = self._detector(spec, parent)
        callbacks, timer = stage_callbacks(name, self.config, partial=partial), Timer()
        logger = TensorBoardLogger(partial, name="", version=LOGS)
        trainer = build.trainer(
            self.config,
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
            save_weights(detector.net, partial / WEIGHTS)
            about = {"name": name, "fingerprint": key, "parent": parent.key if parent else None, "seconds": seconds}
            self.store.publish(
                name, key, {**about, "facts": found_out(callbacks), "config": spec, "seed": self.config["seed"]}
            )
        trainer.strategy.barrier()

    def _detector(self, spec: Config, parent: Stage | None) -> Detector:
        """What a stage trains, with the optimiser that its config names."""
        net = self._start(spec, parent)
        if self.model.get("compile") and spec["epochs"]:
            net.compile()  # in place: the names of its weights stay
        optimizer = build.instantiate(spec["optimizer"]) if spec["optimizer"] else None
        return Detector(net, optimizer=optimizer, warmup_steps=spec["warmup_steps"])

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


def found_out(callbacks: Sequence[pl.Callback]) -> dict[str, Any]:
    """What the callbacks of a stage found out, for the record."""
    return {fact: value for callback in callbacks for fact, value in getattr(callback, "facts", {}).items()}
