"""What earlier releases called things, in the configs that they left and in commands that people have typed.

A record and the config in the folder of a run name classes by their modules. These have moved, and what was written
before is read as if it named them where they are. The other way round, finished stages are found by the names that they
were stored under, so that a move trains nothing again. Old names of recipes work for one release.
"""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

log = logging.getLogger(__name__)

# Modules of 0.1 whose classes configs name.
_FAMILY = ("loss", "yolov3", "decode", "disagreement")
_HARDENING = (
    "adversarial_batch", "consistent_batch", "free_adversarial_batch", "overfitting_watch", "attacked_images",
)  # fmt: skip
_WATCHING = ("progress", "numbers_watch", "inspection", "mask_history", "pictures", "whereabouts")
MODULES = {
    **{f"hydra_det.modules.{name}": f"hydra_det.modules.yolo.{name}" for name in _FAMILY},
    "hydra_det.modules.darknet_weights": "hydra_det.modules.darknet.weights",
    "hydra_det.modules.yolo": "hydra_det.modules.yolo.base",
    **{f"hydra_det.callbacks.{name}": f"hydra_det.callbacks.hardening.{name}" for name in _HARDENING},
    **{f"hydra_det.callbacks.{name}": f"hydra_det.callbacks.watching.{name}" for name in _WATCHING},
    "hydra_det.pipeline.target": "hydra_det.sweeps.target",
    "hydra_det.prune.settings": "hydra_det.pruning.settings",
}

# Recipes of 0.1, `experiment=`; they go with 0.2.
EXPERIMENTS = {
    "bccd_clean": "bccd/clean",
    **{f"deeppcb_{name}": f"deeppcb/{name}" for name in ("clean", "cpu", "hardening", "pruning")},
    "coco_full": "coco/full",
    "replication": "replication/grid",
    "replication_start": "replication/start",
}


CONFIGURATIONS = {"learned_allocation": "recommended"}  # `configuration=` of 0.1
GROUPS = {"experiment": EXPERIMENTS, "configuration": CONFIGURATIONS}


def current_names(config: Any) -> Any:
    """A config, or a part of one, whose `_target_`s are where they are now; all else is as it was."""
    return _with_modules(config, MODULES)


def first_names(config: Any) -> Any:
    """The other way round: `_target_`s where they were first."""
    return _with_modules(config, {new: old for old, new in MODULES.items()})


def current_words(words: Sequence[str]) -> list[str]:
    """What was typed, with recipes and configurations by their new names; a line says so of each old one."""
    return [_current_word(word) for word in words]


def take_old_names() -> None:
    """Let the command line of this process say what it means by the new names."""
    sys.argv = current_words(sys.argv)


def _with_modules(config: Any, modules: Mapping[str, str]) -> Any:
    if isinstance(config, Mapping):
        return {
            key: _moved(part, modules) if key == "_target_" and isinstance(part, str) else _with_modules(part, modules)
            for key, part in config.items()
        }
    return [_with_modules(part, modules) for part in config] if isinstance(config, list) else config


def _moved(target: str, modules: Mapping[str, str]) -> str:
    module, _, name = target.rpartition(".")
    return f"{modules[module]}.{name}" if module in modules else target


def _current_word(word: str) -> str:
    key, equals, value = word.partition("=")
    group = key.lstrip("+")
    if group not in GROUPS or not equals:
        return word
    return key + equals + re.sub(r"[^,]+", lambda found: _current_recipe(group, found[0]), value)


def _current_recipe(group: str, name: str) -> str:
    new = GROUPS[group].get(name, name)
    if new != name:
        log.warning("%s=%s is now %s=%s; the old name goes with version 0.2", group, name, group, new)
    return new
