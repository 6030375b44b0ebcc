"""Everything about a network that can be wrong, before anything is trained: its weights, its methods, its masks."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra_det.attacks.objectives.registry import TERMS
from hydra_det.compaction.channels import layout
from hydra_det.modules.mask_check import check_masks
from hydra_det.modules.protocol import check_detector
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.run_config import read_run_config
from hydra_det.process.failures.memory_errors import explain
from hydra_det.process.failures.users_code import users_line
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import NEED_CHANNELS
from hydra_det.types import InputError

log = logging.getLogger(__name__)

OURS = __name__.partition(".")[0]  # the package
TERMS_OF_OURS = ["box", "objectness", "classification"]
# What objectives ask of a network besides its losses, by how their names begin.
NEEDS = {"margins": "margins", "average_precision": "decode"}
NEEDS_OF_TARGETS = {"assigned": "evidence", "topk": "objectness"}  # and targets of attribution


def check_network(config: Config, model: Mapping[str, Any], *, image_size: int) -> None:
    """Make the network once, with its masks, and plan what they would keep.

    Args:
        config: the whole config.
        model: as of `build.model_config`.
        image_size: side of the images in pixels.
    """
    check_earlier(model)
    check_norm(model)
    made = build.network(model)
    if image_size < (least := getattr(made, "least_side", 1)):
        raise InputError(f"data.image_size: expected at least {least} for {type(made).__name__}, got {image_size}")
    terms = getattr(made, "loss_terms", TERMS_OF_OURS)  # what our own do is tested
    is_ours = type(made).__module__.startswith(f"{OURS}.")
    if not is_ours:
        terms = _tried(made, model["num_classes"], image_size)
    attacks = {key: config[key] for key in ("attack", "hardening", "evaluation")}
    _check_target(made, config["init"].get("target"))
    _check_methods(made, [*_objectives(attacks), *_fixed_objectives(config)])
    if "ConsistentBatch" in str(config["hardening"].get("_target_")) and not hasattr(made, "disagreement"):
        raise InputError(
            f"hardening: expected one that {type(made).__name__} can learn by, got consistent, which needs a method "
            "disagreement; choose another one, as hardening=attacked"
        )
    for setting, name in _objectives(attacks):
        asked = name.removeprefix(TERMS)
        if (asked != name or asked in TERMS_OF_OURS) and asked not in terms:
            raise InputError(
                f"{setting}: expected total or a loss term of the network, which has {', '.join(terms)}, got {name}"
            )
    masked = build.masked_network(model, config["prune"]["exclude"])
    if not is_ours:
        check_masks(masked, image_size=image_size, exclude=config["prune"]["exclude"])
    prune = build.instantiate(config["prune"])
    mask_plan(prune, layout(masked, channels=prune.granularity in NEED_CHANNELS))


def _tried(made: Any, num_classes: int, image_size: int) -> list[str]:
    """The loss terms of a user's network; what its own code raises is an error of the user's, not of ours."""
    try:
        terms = check_detector(made, num_classes=num_classes, image_size=image_size)
        log.info("%s keeps to the protocol of a detector; its losses: %s", type(made).__name__, ", ".join(terms))
        return terms
    except InputError:
        raise
    except Exception as error:
        if explain(error):  # memory that ran out is said as everywhere
            raise
        raise InputError(
            f"model._target_: expected {type(made).__name__} to answer two images of noise, [2, 3, {image_size}, "
            f"{image_size}] in [0, 1], got {type(error).__name__}: {error} ({users_line(error) or 'within torch'}); "
            "hydra.verbose=true shows the traceback"
        ) from error


def _check_methods(made: Any, asked: Iterable[tuple[str, str]]) -> None:
    """Refuse objectives that a network has no method for: else epochs pass before an attack asks for it."""
    for setting, name in asked:
        verb = next((verb for start, verb in NEEDS.items() if name.startswith(start)), None)
        if verb and not hasattr(made, verb):
            raise InputError(
                f"{setting}: expected one that {type(made).__name__} has a term for, got {name}, which needs a method "
                f"{verb}; choose one of its losses, as attack=pgd does"
            )


def _check_target(made: Any, target: str | None) -> None:
    """Refuse a target of attribution that a network has no method for, before it is trained for it."""
    verb = NEEDS_OF_TARGETS.get(str(target))
    if verb and not hasattr(made, verb):
        raise InputError(
            f"init.target: expected a network with a method {verb}, got {type(made).__name__}; use init.target=loss"
        )


def _fixed_objectives(config: Config) -> Iterator[tuple[str, str]]:
    """Of attacks that know one objective alone, which no setting names."""
    for setting, attack in (("attack", config["attack"]), ("evaluation.attack", config["evaluation"]["attack"])):
        if "objective" not in attack and (name := getattr(build.instantiate(attack), "objective", None)):
            yield setting, name


def _objectives(config: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """What attacks below a key of a config raise or judge by: dotted key and name."""
    for key, value in config.items() if isinstance(config, Mapping) else ():
        place = f"{where}.{key}" if where else str(key)
        if key in ("objective", "judge", "objectives"):
            yield from ((place, name) for name in ([value] if isinstance(value, str) else value or ()))
        else:
            yield from _objectives(value, place)


def check_norm(model: Mapping[str, Any]) -> None:
    """Refuse statistics of BatchNorm that stay what they are, and are those of no image."""
    if model.get("norm") == "frozen" and not any(model.get(key) for key in build.FILES):
        raise InputError(
            f"model.norm: expected trained, or frozen beside {' or '.join(f'model.{key}' for key in build.FILES)}, got "
            "frozen alone, with statistics of no image"
        )


def check_earlier(model: Mapping[str, Any]) -> None:
    """Let a network refuse the weights of an earlier run with other settings, where its class knows how.

    Args:
        model: as of `build.model_config`. The settings of weights are those of the run in whose folder they lie, as
            `<run>/stages/<stage>/weights.safetensors`; of weights that lie elsewhere they are not known.
    """
    refuse = build.hook(model, "check_earlier")
    if refuse is None or not model.get("weights"):
        return
    # Links are kept: what a stage left is one into the store, which knows no run.
    stages = Path(os.path.abspath(model["weights"])).parent.parent  # noqa: PTH100
    path = stages.parent / "config.yaml"
    if stages.name == "stages" and path.is_file():
        refuse(model, path, lambda: read_run_config(path)["model"])
