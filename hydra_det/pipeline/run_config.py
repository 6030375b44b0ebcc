"""The config in the folder of a finished run, which may come from a stranger.

A config names classes that are made, and OmegaConf fills in what `${...}` stands for, such as a variable of the
environment. What the user types may do both. A file may not: it is read as plain values, and names nothing but what the
package's own configs name, so that opening a folder runs no code that came with it.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

import yaml

from hydra_det.files.plain_yaml import plain_scalars
from hydra_det.pipeline import build
from hydra_det.pipeline.build import CONFIG_DIR, Config
from hydra_det.records.renamed import current_names
from hydra_det.types import InputError

# What is read of it. The callbacks and optimisers of stages are not: nothing makes them again.
NEEDED: dict[str, type[Any] | UnionType] = {
    "store": str, "data": dict, "data._target_": str, "data.image_size": int, "data.greyscale": bool,
    "model": dict, "model._target_": str,
    "trainer": dict, "trainer._target_": str, "trainer.precision": str | int, "trainer.enable_progress_bar": bool,
    "stage": dict, "stage.pretrain": dict, "stage.pretrain.masked": bool,
    "stage.finetune": dict, "stage.finetune.masked": bool,
    "evaluation": dict, "evaluation.attack": dict, "evaluation.attack._target_": str, "evaluation.attack_seed": int,
    "evaluation.bootstrap": int, "evaluation.samples": int,
}  # fmt: skip
OF_SOME = {"model.nms": dict}  # of our own networks, and where there is one: a user's may suppress otherwise
READ_STAGES = ("pretrain", "finetune")  # whose networks are made again
NEVER_MADE = ("callbacks", "stage")


def read_run_config(path: Path, *, trusted: Sequence[str] = ()) -> Config:
    """The config of a finished run.

    Args:
        path: of the file.
        trusted: further classes that it may name, such as `my_package.MyNetwork`.

    Raises:
        InputError: it is not what a run writes, or names something that is not the package's own.
    """
    try:
        for line, value in plain_scalars(path.read_text(encoding="utf-8"), path):
            if "${" in value:
                raise InputError(
                    f"{path}: line {line}: expected plain values, got {value!r:.100}; write what it stands for"
                )
        config = current_names(build.read_yaml(path))
    except OSError as error:
        raise InputError(f"{path}: expected the config of a run, could not read it ({error.strerror})") from error
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, AssertionError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise InputError(
            f"{path}: expected the config of a run, got a file that cannot be read ({reason}); is it damaged?"
        ) from error
    for where, key in _odd_keys(config):
        raise InputError(f"{path}: {where}: expected names as keys, got {key!r:.60}; is it damaged?")
    excluded = [f"stage.{name}.exclude" for name in READ_STAGES if _at(config, f"stage.{name}.masked") is True]
    ours = str(_at(config, "model._target_")).startswith("hydra_det.")
    there = {key: kind for key, kind in OF_SOME.items() if ours or _at(config, key) is not None}
    for key, kind in {**NEEDED, **there, **dict.fromkeys(excluded, list)}.items():
        part = _at(config, key)
        if not isinstance(part, kind) or (kind is int and isinstance(part, bool)):
            came = "nothing" if part is None else f"{part!r:.60}"
            raise InputError(f"{path}: {key}: expected {getattr(kind, '__name__', kind)}, got {came}; is it damaged?")
    for key in excluded:
        if odd := [name for name in _at(config, key) if not isinstance(name, str)]:
            raise InputError(f"{path}: {key}: expected names of layers, got {odd[0]!r:.60}; is it damaged?")
    for where, name in targets({key: part for key, part in config.items() if key not in NEVER_MADE}):
        if name not in (*own_targets(), *trusted):
            raise InputError(
                f"{path}: {where}: expected a class that hydra_det's own configs name, got {name!s:.100}; if it is "
                f"yours, or you have read it, add trust=[{name!s:.100}]"
            )
    return config


def targets(config: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """All that a config would make: dotted key and name."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for key, part in items:
        place = f"{where}.{key}" if where else str(key)
        if key == "_target_":
            yield place, part
        yield from targets(part, place)


@functools.cache
def own_targets() -> frozenset[str]:
    """What the configs of the package name."""
    found: set[str] = set()
    for file in sorted(Path(CONFIG_DIR).rglob("*.yaml")):
        found.update(
            re.findall(r"\b_target_: *(hydra_det\.[\w.]+|pytorch_lightning\.Trainer)\b", file.read_text("utf-8"))
        )
    return frozenset(found)


def _odd_keys(config: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Keys that are no text, as `on` is none to YAML: where they stand, and themselves."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for key, part in items:
        if isinstance(config, Mapping) and not isinstance(key, str):
            yield where, key
        yield from _odd_keys(part, f"{where}.{key}" if where else str(key))


def _at(config: Config, key: str) -> Any:
    part: Any = config
    for word in key.split("."):
        part = part.get(word) if isinstance(part, Mapping) else None
    return part
