"""What is wrong with what runs are searched for, said before the first of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from hydra_det.engines.registry import check_installed
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.precision import looked_at
from hydra_det.records.objectives import OBJECTIVES, TIMED
from hydra_det.sweeps.target import Target
from hydra_det.types import InputError


def check_search(config: Config) -> Target:
    """The target of a config; refuses one, or objectives, that nothing can be found for."""
    target = check_target(config)
    check_objectives(config)
    return target


def has_target(config: Any) -> bool:
    """Whether a config, resolved or not, asks for more than one run."""
    target = config.get("target") or {}
    if not isinstance(target, Mapping):
        raise InputError(f"target: expected a bound, as in target.map_attacked=0.25, got {target}")
    return any(target.get(name) is not None for name in OBJECTIVES)


def check_target(config: Config) -> Target:
    """The target of a config, or the reason why nothing can be found for it."""
    target: Target = build.instantiate(config.get("target")) or Target()
    granularity, goals = config["prune"]["granularity"], target.goals
    if not goals:
        return target
    if granularity == "nm":
        raise InputError(
            "target: expected prune=weight, kernel, filter, filter_group or hybrid, got nm, which knows a few ratios "
            "only; run those, as in -m prune=nm prune.ratio=0,0.25,0.5,0.75"
        )
    if "map_attacked" in goals and build.instantiate(config["evaluation"]["attack"]) is None:
        raise InputError("target.map_attacked: expected an attack, got none; choose attack=pgd, or target.map_clean")
    if "sparse_latency_ms" in goals:
        check_installed(["sparse"], setting="target.sparse_latency_ms", otherwise="take target.latency_ms")
    if (timed := _timed(goals)) and (count := _processes(config)) > 1:
        raise InputError(
            f"target.{timed}: expected one process, as only the first one measures time, got {count}; set "
            "trainer.devices=1"
        )
    return target


def check_objectives(config: Config) -> None:
    """Refuse what a sweeper cannot search for; a whole sweep is refused by it before its first run."""
    names = list(config.get("objectives") or [])
    if len(set(names)) != len(names) or not set(names) <= set(OBJECTIVES):
        raise InputError(
            f"objectives: expected a list of some of {', '.join(OBJECTIVES)}, as in objectives=[map_attacked,megabytes]"
            f", got {config['objectives']}"
        )
    if names and config["dry_run"]:
        raise InputError("dry_run: expected false beside objectives, got true; each run is chosen from earlier ones")
    if "map_attacked" in names and build.instantiate(config["evaluation"]["attack"]) is None:
        raise InputError("objectives: expected an attack for map_attacked, got none; choose attack=pgd, or map_clean")
    if (timed := _timed(names)) and (count := _processes(config)) > 1:
        raise InputError(f"objectives: expected one process for {timed}, which the first one measures, got {count}")
    if "sparse_latency_ms" in names and not config["evaluation"]["latency"]["sparse"]:
        raise InputError(
            "evaluation.latency.sparse: expected true for the objective sparse_latency_ms, got false; add "
            "evaluation.latency.sparse=true"
        )


def _processes(config: Config) -> int:
    """How many a run starts, in whatever numbers it computes."""
    return build.bare_trainer(looked_at(config)).world_size


def _timed(names: Iterable[str]) -> str | None:
    """The first of some objectives that a clock decides."""
    return next((name for name in names if name in TIMED), None)
