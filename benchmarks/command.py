"""A command of train.py whose stages are run, or found in its store, one by one."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import hydra

from hydra_det.compaction.channels import layout
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.precision import settled
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.process.script import EXPECTED_WARNINGS
from hydra_det.pruning.plan import MaskPlan, mask_plan
from hydra_det.store.store import Store


class Command:
    """Stages of one command and of variants of it, which share data, model and store.

    Args:
        overrides: as typed behind `python train.py`.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        self.overrides = list(overrides)
        config = self._config()
        self.data = build.data(config)
        self.data.prepare()
        self.model = build.model_config(config, self.data)
        self.store = Store(Path(config["store"]))

    def runner(self, *further: str) -> StageRunner:
        """Of the stages of the command with further overrides."""
        return StageRunner(self._config(*further), data=self.data, model=self.model, store=self.store)

    def mask_plan(self, *further: str) -> MaskPlan:
        """How the command with further overrides makes masks of scores."""
        prune = self._config(*further)["prune"]
        net = build.masked_network({**self.model, "weights": None}, prune["exclude"])
        return mask_plan(build.instantiate(prune), layout(net))

    def _config(self, *further: str) -> Config:
        with hydra.initialize_config_dir(build.CONFIG_DIR, version_base="1.3"):
            return settled(build.plain(hydra.compose("train", [*self.overrides, *further])))
