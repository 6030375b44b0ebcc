"""What tells the configurations of runs apart, and the names that it gives them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hydra_det.records.record import Record

# What tells configurations apart: the values of each are in `traits`.
TRAITS = ("granularity", "init", "greyscale", "allocation", "pretraining", "hardening")
# The paper's choices: they go without saying in the name of a configuration.
USUAL = {"greyscale": False, "allocation": "uniform", "pretraining": "adversarial", "hardening": "attacked"}


def traits(record: Record) -> dict[str, Any]:
    """`TRAITS` of a run. What a record does not say, or what is not done in it, is None."""
    choices = record.config.get("choices", {})
    return {
        "granularity": record.sparsity["granularity"],
        "init": _init(record.config),
        "greyscale": is_greyscale(record),
        "allocation": record.sparsity["allocation"],
        "pretraining": _pretraining(record),
        "hardening": choices.get("hardening"),
    }


def plain_names(records: Mapping[str, Record]) -> dict[str, str]:
    """The `TRAITS` of every run in words, by its folder; runs that differ in something else have one name here."""
    found = {folder: traits(record) for folder, record in records.items()}
    usual = usual_among(own["hardening"] for own in found.values())
    return {folder: name_of(own, usual) for folder, own in found.items()}


def usual_among(hardenings: Iterable[Any]) -> dict[str, Any]:
    """`USUAL` of runs that stand side by side: how most of them were hardened goes without saying.

    Args:
        hardenings: of the runs; what is no text says nothing.
    """
    counts = Counter(name for name in hardenings if isinstance(name, str)).most_common(2)
    alone = len(counts) == 1 or (len(counts) == 2 and counts[0][1] > counts[1][1])
    return USUAL | ({"hardening": counts[0][0]} if alone else {})


def name_of(found: Mapping[str, Any], usual: Mapping[str, Any] = USUAL) -> str:
    """`TRAITS` in words, such as `scaled, kernel, greyscale`: scores, units, and what is not `usual`."""
    words = [str(found["init"]), found["granularity"]]
    said = {trait: found[trait] for trait, value in usual.items() if found[trait] not in (value, None)}
    words += [said["allocation"]] if "allocation" in said else []
    words += ["greyscale"] if "greyscale" in said else []
    words += [f"{said['pretraining']} pretraining"] if "pretraining" in said else []
    words += [f"{said['hardening']} hardening"] if "hardening" in said else []
    return ", ".join(words)


def is_greyscale(record: Record) -> bool:
    """Whether the networks saw images without colour."""
    return bool(record.config.get("data", {}).get("greyscale"))


def _init(config: Mapping[str, Any]) -> str | None:
    """What `init=` was, by its present name: before `deeplift` blended its scores with |weight| it was the paper's."""
    chosen = config.get("choices", {}).get("init")
    target = (config.get("init") or {}).get("_target_", "")
    return "deeplift_paper" if chosen == "deeplift" and target.endswith(".DeepLift") else chosen


def _pretraining(record: Record) -> str | None:
    """`clean` where no batch of it is attacked, `no` where there is none; None: the record does not say."""
    stages = record.config.get("stage")
    stage = stages.get("pretrain") if isinstance(stages, Mapping) else None
    if not isinstance(stage, Mapping) or stage.get("epochs") is None or stage.get("attacked_share") is None:
        return None
    if stage["epochs"] == 0:
        return "no"
    never = stage["attacked_share"] == 0 or (stage.get("clean_epochs") or 0) >= stage["epochs"]
    return "clean" if never else "adversarial"
