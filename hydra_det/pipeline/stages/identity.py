"""What the result of a stage depends on, as the fingerprint that it is stored under."""

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hydra_det.data.datamodule import DetectionData
from hydra_det.evaluation.latency import device_name
from hydra_det.modules.weights import weights_hash
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.stages import out_of_memory
from hydra_det.pipeline.stages.stage import Stage
from hydra_det.store.store import fingerprint

# What a stage does not depend on; all else of these groups is in its fingerprint, also what a user adds. Of the data
# everything that chooses images is here, as the images themselves are in the fingerprint.
INDIFFERENT_DATA = (
    "_target_", "name", "root", "train_annotations", "val_annotations", "test_annotations", "train_images_dir",
    "val_images_dir", "test_images_dir", "train_labels_dir", "val_labels_dir", "test_labels_dir", "train_list",
    "val_list", "test_list", "images_dir", "annotations_dir", "names", "classes", "one_based",
    "difficult", "canvas", "train_size", "test_size", "drawing_seed", "train_images",
    "val_images", "test_images", "subset_seed", "strict", "allow_overlap", "workers", "cache_images",
    "evaluation_batch_size", "split", "decoded",
)  # fmt: skip
INDIFFERENT_TRAINER = (
    "_target_", "accelerator", "strategy", "devices", "num_nodes", "benchmark", "deterministic", "inference_mode",
    "profiler", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "check_val_every_n_epoch",
    "val_check_interval", "limit_val_batches", "num_sanity_val_steps",
)  # fmt: skip
OURS = "hydra_det."  # how the names of the package's classes begin
# Callbacks of every stage that only look: what they are told changes no network.
OBSERVERS = ("hydra_det.callbacks.watching.", "hydra_det.callbacks.detection_metrics.")


def stage_key(
    name: str, parent: Stage | None, *, config: Config, model: Mapping[str, Any], data: DetectionData, processes: int
) -> str:
    """Fingerprint over everything the result depends on: of the first stage, the model.

    Args:
        name: of the stage.
        parent: that it starts from; None: from `model`.
        config: the whole config.
        model: from `build.model_config`.
        data: prepared.
        processes: how many the trainer starts.
    """
    start = {"parent": parent.key} if parent else {"model": model_identity(model)}
    return fingerprint({
        "stage": name,
        "config": config["stage"][name],
        "data": {"images": data.fingerprints["train"], "config": _without(config["data"], INDIFFERENT_DATA)},
        "trainer": {**_without(config["trainer"], INDIFFERENT_TRAINER), "processes": processes},
        "callbacks": added_callbacks(config),
        "seed": config["seed"],
        **({"out_of_memory": out_of_memory.HALVE} if out_of_memory.may_halve(config, name) else {}),
        **({"measured_on": machine(config)} if _measures(config["stage"][name]) else {}),
        **start,
    })  # fmt: skip


def model_identity(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model's config; a file of weights counts by its content, suppression only when a network is scored.

    How it is computed (`channels_last`, `compile`) changes rounding only and does not count, like the device. Of a
    user's network the file that it stands in counts, too: while somebody writes it, its settings stay and it does not.
    """
    identity = {**_without(model, (*build.MODEL_OPTIONS, "nms")), **source_of(model)}
    for key in build.FILES:
        if model.get(key):
            identity[key] = weights_hash(Path(model[key]))
    return identity


def source_of(model: Mapping[str, Any]) -> dict[str, str]:
    """The hash of the file that holds a user's network, as `_source_`; nothing of our own networks."""
    if str(model["_target_"]).startswith(OURS):
        return {}
    try:
        file = inspect.getsourcefile(build.target(model))
    except TypeError:  # of what stands in no file, such as a `functools.partial`
        return {}
    return {"_source_": hashlib.sha256(Path(file).read_bytes()).hexdigest()} if file else {}


def added_callbacks(config: Config) -> dict[str, Any]:
    """Those of every stage that a user added."""
    return {key: part for key, part in config["callbacks"].items() if not part["_target_"].startswith(OBSERVERS)}


def _measures(stage: Config) -> bool:
    """Whether a stage makes masks within a budget of time; what comes before it is the same on every machine."""
    return any(part.get("prune", {}).get("budget") == "latency" for part in stage["callbacks"].values())


def machine(config: Config) -> dict[str, Any]:
    """What a budget of time was measured on."""
    device = build.bare_trainer(config).strategy.root_device
    return {"device": device_name(device), "threads": torch.get_num_threads()}


def _without(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}
