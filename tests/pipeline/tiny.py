"""A whole run in seconds: a tiny network on tiny pictures, composed as the command line would."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from hydra_det.pipeline.build import CONFIG_DIR, plain
from hydra_det.pipeline.plan import Planned, plan_stages
from hydra_det.pipeline.runner import Run
from hydra_det.records.record import Record
from train import train

OVERRIDES = [
    "data.canvas=64", "data.image_size=64", "data.train_size=20", "data.test_size=6", "data.val_images=4",
    "data.batch_size=4", "model=yolov3_tiny", "model.width=0.125", "attack.steps=2",
    "trainer.check_val_every_n_epoch=3", "trainer.enable_progress_bar=false",
    "evaluation.latency.repeats=3", "evaluation.latency.warmup=1",
    "evaluation.bootstrap=20", "trainer.precision=32-true",
    "stage.pretrain.epochs=3", "stage.pretrain.clean_epochs=1",
    "stage.train_scores.epochs=2", "stage.finetune.epochs=2", "prune.allocation=uniform",
]  # fmt: skip


def arguments(folder: Path, *further: str) -> list[str]:
    """Overrides of a tiny run whose store and pictures lie in `folder`."""
    own = [f"data.root={folder / 'shapes'}", f"data.decoded={folder / 'decoded'}", f"store={folder / 'store'}"]
    return [*OVERRIDES, *own, *further]


def compose(overrides: Sequence[str], config_name: str = "train") -> dict[str, Any]:
    """The resolved config that a command line would give."""
    return dict(plain(unresolved(overrides, config_name)))


def unresolved(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """The config as Hydra hands it to a script."""
    with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config = hydra.compose(config_name, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(copy.deepcopy(config))
    with open_dict(config):
        del config.hydra
    return config


def run(folder: Path, *further: str, name: str = "run") -> Record:
    """A run with its output in `folder / name`."""
    record = train(compose(arguments(folder, *further)), folder / name)
    assert record is not None
    return record


def planned(folder: Path, *further: str, name: str = "dry") -> list[Planned]:
    """What such a run would have to train, of which nothing is done."""
    made = Run(compose(arguments(folder, "dry_run=true", *further)), folder / name, choices={}, overrides=[])
    return list(plan_stages(made.runner))
