"""Who looks on while a stage is trained: what its config names, and what every stage has."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LearningRateMonitor

from hydra_det.callbacks.stage_checkpoint import StageCheckpoint
from hydra_det.callbacks.watching.numbers_watch import NumbersWatch
from hydra_det.callbacks.watching.progress import EpochLine, LastEpochValidation, StageBar
from hydra_det.callbacks.watching.whereabouts import Whereabouts
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.stages import out_of_memory
from hydra_det.store.checkpoints import LAST


def stage_callbacks(name: str, config: Config, *, partial: Path) -> list[pl.Callback]:
    """The callbacks of a stage, in the order in which they are called.

    Args:
        name: of the stage.
        config: the whole config.
        partial: the folder that the stage is trained in.
    """
    spec = config["stage"][name]
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
