"""What is wrong with a config, said before anything is trained."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_det.engines.registry import check_installed
from hydra_det.evaluation.latency import check_confidence
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.precision import looked_at, of_scores
from hydra_det.pipeline.stages import out_of_memory
from hydra_det.pipeline.stages.stage import STAGES
from hydra_det.process.typed.spelling import did_you_mean
from hydra_det.pruning.settings import IN_SPARSE, PruneSettings
from hydra_det.types import InputError

log = logging.getLogger(__name__)

SEARCHED = ("target", "objectives")  # how runs are looked for; no run depends on it
STAGE_KEYS = (
    "masked", "epochs", "clean_epochs", "ramp_epochs", "exclude", "attacked_share", "warmup_steps", "optimizer",
    "callbacks",
)  # fmt: skip
AVERAGED = ("pretrain", "finetune")  # stages whose weights learn
# The keys of everything that is not handed to a constructor, which knows its own.
KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "seed", "dry_run", "store", "checkpoint_minutes", "out_of_memory", "model", "data", "attack", "hardening",
        "init", "prune", "stage", "evaluation", "trainer", "callbacks", *SEARCHED,
    ),
    "prune": ("_target_", *(field.name for field in dataclasses.fields(PruneSettings))),
    "stage": STAGES,
    **{f"stage.{name}": (*STAGE_KEYS, *(("ema",) if name in AVERAGED else ())) for name in STAGES},
    "evaluation": ("attack", "attack_seed", "bootstrap", "samples", "precision", "latency"),
    "evaluation.latency": ("device", "confidence", "images", "warmup", "repeats", "sparse"),
}  # fmt: skip
NO_KEYS = ("experiment", "configuration", "sweep")  # groups that are spread over the config
LENGTHS = ("epochs", "clean_epochs", "ramp_epochs", "warmup_steps")
# Whole numbers and the least they may be.
COUNTS = {
    "seed": 0,
    **{f"stage.{name}.{key}": 0 for name in STAGES for key in LENGTHS},
    "evaluation.attack_seed": 0,
    "evaluation.bootstrap": 0,
    "evaluation.samples": 0,
    "evaluation.latency.images": 1,
    "evaluation.latency.warmup": 0,
    "evaluation.latency.repeats": 1,
}
# Arguments of Lightning's trainer that the pipeline gives, and what to use instead.
TAKEN = {
    "max_epochs": "set stage.pretrain.epochs and those of the other stages",
    "min_epochs": "set stage.pretrain.epochs and those of the other stages",
    "max_time": "a stage that ends early would be kept as a finished one",
    "fast_dev_run": "stages are kept; use trainer.limit_train_batches=2",
    "callbacks": "add to the group callbacks, e.g. +callbacks.mine._target_=...",
    "logger": "TensorBoard logs lie in the folder of every stage",
    "default_root_dir": "set store",
    "enable_checkpointing": "stages could not go on after an interruption",
}


def check(config: Config) -> None:
    """Refuse unknown keys and wrong values, and build every small part once."""
    config = looked_at(config)
    _check_keys(config)
    _check_values(config)
    _check_trainer(config["trainer"])
    build.bare_trainer(config)
    _check_precision(of_scores(config))
    _check_memory(config)
    for part in (config["attack"], config["evaluation"]["attack"], config["callbacks"]):
        build.instantiate(part)
    for stage in config["stage"].values():
        build.instantiate(stage["callbacks"])
        if stage["optimizer"]:
            build.instantiate(stage["optimizer"])


def _check_keys(config: Config) -> None:
    for path, known in KEYS.items():
        for key in _at(config, path):
            if key not in known:
                full = f"{path}.{key}" if path else key
                meant = did_you_mean(key, known if path else (*known, *NO_KEYS))
                raise InputError(f"{full}: expected one of {', '.join(known)}{meant}")


def _check_values(config: Config) -> None:
    for path, least in COUNTS.items():
        parent, _, key = path.rpartition(".")
        value = _at(config, parent).get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{path}: expected a whole number of at least {least}, got {value!r}")
    for name, stage in config["stage"].items():
        clean, ramp = stage.get("clean_epochs", 0), stage.get("ramp_epochs", 0)
        if ramp and clean + ramp >= stage["epochs"]:
            raise InputError(
                f"stage.{name}.ramp_epochs: expected fewer than the {stage['epochs'] - clean} epochs under attack, got "
                f"{ramp}; epsilon would never reach its value"
            )
        if stage.get("attacked_share") and 0 < stage["epochs"] <= clean:
            log.warning(
                "stage.%s: none of its %d epochs is attacked, as stage.%s.clean_epochs is %d: it hardens nothing",
                name, stage["epochs"], name, clean,
            )  # fmt: skip
    if (device := config["evaluation"]["latency"]["device"]) not in ("auto", "cpu"):
        raise InputError(f"evaluation.latency.device: expected auto or cpu, got {device}")
    check_confidence("evaluation.latency.confidence", config["evaluation"]["latency"]["confidence"])
    if not isinstance(sparse := config["evaluation"]["latency"]["sparse"], bool):
        raise InputError(f"evaluation.latency.sparse: expected true or false, got {sparse!r}")
    if sparse:
        check_installed(["sparse"], setting="evaluation.latency.sparse", otherwise="set it to false")
    minutes = config["checkpoint_minutes"]
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 <= minutes < math.inf:
        raise InputError(f"checkpoint_minutes: expected a number of at least 0, got {minutes!r}")
    prune = build.instantiate(config["prune"])
    if prune.budget == "latency" and prune.granularity in IN_SPARSE:
        check_installed(["sparse"], setting="prune.budget", otherwise="take parameters or flops")
    if config["init"].get("attacked") and build.instantiate(config["attack"]) is None:
        clean = "init=deeplift_paper" if config["init"].get("reference") == "clean" else "init.attacked=false"
        raise InputError(f"init.attacked: expected an attack, got attack=none; choose one, or {clean}")
    store = Path(config["store"])
    existing = next(folder for folder in (store, *store.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"store: expected a folder, got {store}, but {existing} is a file; give another one")


def _check_trainer(settings: Config) -> None:
    for key, advice in TAKEN.items():
        if settings.get(key):
            raise InputError(f"trainer.{key}: expected nothing, as the pipeline sets it, got {settings[key]}; {advice}")
    if settings["inference_mode"]:
        raise InputError("trainer.inference_mode: expected false, got true; an attack needs gradients in evaluation")
    if str(settings["precision"]).endswith("16-true"):
        raise InputError(
            f"trainer.precision: expected auto, 32-true, bf16-mixed or 16-mixed, got {settings['precision']}; in half "
            "precision throughout, boxes and anchors would be rounded by pixels"
        )
    for split, whole in (("test", (None, 1.0)), ("val", (None, 1.0, 0))):
        if (limit := settings.get(f"limit_{split}_batches")) not in whole:
            raise InputError(
                f"trainer.limit_{split}_batches: expected {whole[-1]}, got {limit}; AP counts all images of a split, "
                f"so take fewer by data.{split}_images"
            )


def _check_precision(scoring: Config) -> None:
    if (asked := scoring["evaluation"].get("precision")) is None:
        return
    try:
        if str(asked).endswith("16-true"):
            raise InputError(f"boxes and anchors would be rounded by pixels in {asked}")
        build.bare_trainer(scoring)
    except InputError as error:
        raise InputError(f"evaluation.precision: expected 32-true, bf16-mixed or 16-mixed, got {asked}") from error


def _check_memory(config: Config) -> None:
    asked = out_of_memory.choice(config)
    if asked not in out_of_memory.CHOICES:
        raise InputError(f"out_of_memory: expected one of {', '.join(out_of_memory.CHOICES)}, got {asked}")
    if asked == out_of_memory.HALVE and (count := build.bare_trainer(config).world_size) > 1:
        raise InputError(
            f"out_of_memory: expected fail with several processes, of which one alone may run short, got halve with "
            f"{count}; lower data.batch_size instead"
        )


def _at(config: Config, path: str) -> Mapping[str, Any]:
    """The part of a config at a dotted path."""
    part: Any = config
    for key in path.split(".") if path else ():
        part = part[key]
    return part
