"""In which numbers a run computes: `trainer.precision=auto`, the default, trains in bfloat16 where the machine can.

Scores are then computed in float32 all the same: bfloat16 rounds a pixel to 1/256, as much as an attack may change it.
"""

import functools
import logging
import platform
from pathlib import Path
from typing import Any

import torch

from hydra_det.pipeline.build import Config

log = logging.getLogger(__name__)

AUTO, FULL, HALF = "auto", "32-true", "bf16-mixed"
UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # how Linux calls them on x86 and on ARM
CPUINFO = Path("/proc/cpuinfo")


def settled(config: Config) -> Config:
    """The config with a choice in place of `trainer.precision=auto`, and what goes with it; else the config itself."""
    if config["trainer"]["precision"] != AUTO:
        return config
    chosen = HALF if has_units(_device(config)) else FULL
    found = {**config, "trainer": {**config["trainer"], "precision": chosen}}
    if chosen == FULL:  # as if it had been asked for
        return found
    evaluation = config["evaluation"]
    return {
        **found,
        "evaluation": {**evaluation, "precision": evaluation.get("precision") or FULL},
        "model": {**config["model"], "channels_last": True},
    }


def looked_at(config: Config) -> Config:
    """The config for a look at its other values, in float32 in place of `auto`; no device is asked, none wakes up."""
    if config["trainer"]["precision"] != AUTO:
        return config
    return {**config, "trainer": {**config["trainer"], "precision": FULL}}


def say_choice(asked: Config, found: Config) -> None:
    """One line in the log on what was chosen, where that was asked for."""
    if asked["trainer"]["precision"] == AUTO:
        _say(_device(asked), found["trainer"]["precision"], of_scores(found)["trainer"]["precision"])


def of_scores(config: Config) -> dict[str, Any]:
    """The config with the trainer that scores networks, in other numbers where `evaluation.precision` names some."""
    precision = config["evaluation"].get("precision") or config["trainer"]["precision"]
    return {**config, "trainer": {**config["trainer"], "precision": precision}}


def has_units(device: str) -> bool:
    """Whether a device multiplies in bfloat16 faster than in float32; asked of its kind, and the same in all processes.

    Args:
        device: `gpu`, the first of this machine, or `cpu`.
    """
    if device == "gpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # not Linux
        return False
    flags = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()
    }
    return bool(flags & set(UNITS))


def _device(config: Config) -> str:
    return "gpu" if config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available() else "cpu"


@functools.cache  # once, however many configs of a sweep are looked at
def _say(device: str, chosen: str, scores: str) -> None:
    name = torch.cuda.get_device_name(0) if device == "gpu" else platform.machine()
    how, units = ("bf16-mixed with channels_last", "has") if chosen == HALF else (chosen, "has no")
    said = "trainer.precision=auto: %s, as this %s (%s) %s units for bfloat16; AP is computed in %s"
    log.info(said, how, device, name, units, scores)
