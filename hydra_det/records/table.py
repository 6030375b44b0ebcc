"""From the records below a folder to one tidy table, a row per run."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_det.records.added import without_added
from hydra_det.records.engine_times import Fastest, fastest, timed_cells
from hydra_det.records.record import (
    PROTOCOLS,
    RECORD_NAME,
    Protocols,
    Record,
    RecordError,
    nms_confidence,
    read_record,
    suppressed,
)
from hydra_det.records.traits import TRAITS, plain_names, traits

NETWORKS = ("dense", "pruned")
TIMED = (*NETWORKS, "compact")
ENGINE_TIMED = ("dense", "compact")
PARTS = ("forward", "decode", "nms", "total")

# Where a config says what `traits` say: at any depth, and of the stage in which networks are pretrained.
_OF_TRAITS = ("choices", "init", "init_scores", "prune", "topk_mask", "greyscale", "hardening", "adversarial_batch")
_OF_PRETRAINING = ("attacked_share", "clean_epochs", "ramp_epochs")

_WORDS = ("name", "configuration", *TRAITS, "recipe", "varied", "seed", "folder")
_PRECISION = tuple(
    f"{metric}_{condition}_{network}"
    for metric in ("map", "map_50", "map_50_paper")
    for condition in ("clean", "attacked")
    for network in NETWORKS
)
_LATENCY = tuple(f"{part}_ms_{network}" for part in (*PARTS, "nms_coco", "total_coco") for network in TIMED)
_SIZE = tuple(f"{size}_{network}" for size in ("parameters", "flops", "megabytes") for network in ("dense", "compact"))
_SPARSE = ("forward_ms_sparse", "total_ms_sparse")  # of the compact network in that engine, where it was asked for
# Of single images, each network in the engine that computes it fastest in float32, where compact.py took the times.
_ENGINES = tuple(f"total_ms_{network}_fastest" for network in ENGINE_TIMED)
_MEASURED = (*_PRECISION, *_LATENCY, *_SPARSE, *_ENGINES, "nms_confidence", *_SIZE)
_TIME = ("seconds", "seconds_of_stages")
COLUMNS = (
    "name", "configuration", *TRAITS, "recipe", "varied", "ratio", "seed", "sparsity", *_MEASURED, *_TIME, "folder",
)  # fmt: skip

LONG = 40  # letters of what was typed, beyond which a name has a letter instead

# What may differ between the runs of one configuration: what a sweep repeats or varies, and where things lie.
_FREE = ("seed", "ratio", "store", "dry_run", "root", "workers", "experiment", "sweep", "configuration")


def load_records(folder: str | Path) -> tuple[dict[str, Record], dict[str, str]]:
    """All runs at or below a folder.

    Returns:
        Records and problems, each by the folder of the run relative to the given one. A problem is one line that says
        why that record could not be read.
    """
    root = Path(folder)
    records, problems = {}, {}
    for path in sorted(root.rglob(RECORD_NAME)):
        run = path.parent.relative_to(root).as_posix()
        try:
            records[run] = read_record(path)
        except RecordError as error:
            problems[run] = str(error)
    return records, problems


def records_frame(records: Mapping[str, Record]) -> pd.DataFrame:
    """One row a record, with `COLUMNS`; what a run did not measure is NaN.

    AP in [0, 1], latency in ms, time in s, a megabyte is 10^6 bytes. NMS, and with it the total, counts boxes from
    `nms_confidence` on, and those with `coco` in their name from COCO's 0.001 on. `configuration` names what runs have
    in common that differ by seed and ratio only; `varied` holds the overrides of a run that not all runs have.
    `seconds` is what this run spent in its stages, `seconds_of_stages` what these cost whichever run trained them.
    `recipe` is the same for runs whose configs differ in their `TRAITS` only.
    """
    common = set.intersection(*(set(record.overrides) for record in records.values())) if records else set()
    names = configurations(records)
    rows = [
        _row(record)
        | {
            "folder": folder,
            "configuration": names[folder],
            "varied": " ".join(o for o in record.overrides if o not in common) or None,
        }
        for folder, record in records.items()
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [column for column in COLUMNS if column not in _WORDS]
    return frame.astype(dict.fromkeys(numbers, float) | {"seed": "int64"})


def configurations(records: Mapping[str, Record]) -> dict[str, str]:
    """The name of every run's configuration, such as `scaled, kernel, greyscale`.

    Runs of one name differ by seed and ratio only: where the name alone would not tell, it is followed by what was
    typed for them and not for all others of this name, or, where that is long or does not tell, by a letter. Runs of
    one seed that saw other images are of two configurations, wherever these lie.
    """
    names = plain_names(records)
    configs = _configs_and_images(records)
    several = _kinds(names, configs)
    typed = typed_apart(records, names)
    found: dict[str, str] = {}
    for folder, name in names.items():
        said = {(configs[other], typed[other]) for other in names if names[other] == name}
        telling = len(said) == len(several[name]) and max(len(words) for _, words in said) <= LONG
        if len(several[name]) > 1 and telling:
            found[folder] = f"{name}, {typed[folder]}" if typed[folder] else name
        else:
            found[folder] = name
    several = _kinds(found, configs)
    return {
        folder: name if len(several[name]) == 1 else f"{name}, {_letter(several[name].index(configs[folder]))}"
        for folder, name in found.items()
    }


def typed_apart(records: Mapping[str, Record], names: Mapping[str, str]) -> dict[str, str]:
    """What was typed for a run and not for all that have its name, without what may differ within a configuration.

    Args:
        records: by folder of the run.
        names: of them.
    """
    images = dict(zip(records, _images(records), strict=True))
    typed = {
        folder: [o for o in record.overrides if _last(o) not in _FREE or (_last(o) == "root" and images[folder])]
        for folder, record in records.items()
    }
    shared = {
        name: set.intersection(*(set(typed[folder]) for folder in typed if names[folder] == name))
        for name in set(names.values())
    }
    return {folder: " ".join(o for o in words if o not in shared[names[folder]]) for folder, words in typed.items()}


def fastest_of(record: Record) -> dict[str, Fastest]:
    """Where the dense and the compact network of a run are fastest with a single image, decoding and NMS included.

    Nothing where compact.py took no such times.
    """
    compaction = record.compaction
    if compaction is None or not any(batch == 1 for batch, _ in timed_cells(compaction)):
        return {}
    return {network: fastest(compaction, network, 1, part="total") for network in ENGINE_TIMED}


def achieved_sparsity(record: Record) -> float:
    """Fraction of the weights of all masked layers that are pruned; 0 where no layer is masked."""
    return record.sparsity["pruned"] / max(1, record.sparsity["total"])


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": record.name,
        **traits(record),
        "recipe": _recipe(record.config),
        "ratio": record.sparsity["ratio_asked"],
        "seed": record.seed,
        "sparsity": achieved_sparsity(record),
        "seconds": sum(stage["seconds"] for stage in record.stages if not stage["reused"]),
        "seconds_of_stages": sum(stage["seconds"] for stage in record.stages),
    }
    for network, metrics in (("dense", record.metrics["dense"]), ("pruned", record.metrics["pruned"])):
        row |= _precision(metrics["clean"], f"clean_{network}")
        row |= _precision(metrics["attacked"], f"attacked_{network}")
    for network, latency in record.latency.items():
        parts = (latency["forward"], latency["decode"], latency["nms"], latency["total"])
        row |= {f"{part}_ms_{network}": spread["median_ms"] for part, spread in zip(PARTS, parts, strict=True)}
        if coco := suppressed(latency, PROTOCOLS["coco"]):
            row |= {f"{part}_coco_ms_{network}": coco[part]["median_ms"] for part in ("nms", "total")}
        row["nms_confidence"] = nms_confidence(latency)
    row |= {f"total_ms_{network}_fastest": best.milliseconds for network, best in fastest_of(record).items()}
    for network, size in record.sizes.items():
        row |= {f"{key}_{network}": size[key] for key in ("parameters", "flops")}
        row[f"megabytes_{network}"] = size["file_bytes"] / 1e6
    return row


def _recipe(config: Mapping[str, Any]) -> str:
    """A fingerprint of a config without what may differ within a configuration, and without its traits."""
    rest = _without(bound_config(config), _OF_TRAITS)
    stages = rest.get("stage")
    if isinstance(stages, Mapping) and isinstance(stages.get("pretrain"), Mapping):
        rest["stage"] = {**stages, "pretrain": _without(stages["pretrain"], _OF_PRETRAINING)}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:8]


def _without(value: Any, keys: Collection[str]) -> Any:
    """Without some keys, at any depth."""
    if isinstance(value, Mapping):
        return {key: _without(part, keys) for key, part in value.items() if key not in keys}
    return [_without(part, keys) for part in value] if isinstance(value, list) else value


def _kinds(names: Mapping[str, str], configs: Mapping[str, str]) -> dict[str, list[str]]:
    """The different configs of every name, sorted."""
    return {name: sorted({configs[folder] for folder in names if names[folder] == name}) for name in names.values()}


def _configs_and_images(records: Mapping[str, Record]) -> dict[str, str]:
    """What makes a configuration: a text that is the same for runs that differ by seed and ratio only."""
    images = _images(records)
    return {
        folder: json.dumps(bound_config(record.config), sort_keys=True) + seen
        for (folder, record), seen in zip(records.items(), images, strict=True)
    }


def _images(records: Mapping[str, Record]) -> list[str]:
    """Of every run the images it saw, where another run of the same config, ratio and seed saw others; else nothing."""
    configs = [json.dumps(bound_config(record.config), sort_keys=True) for record in records.values()]
    seen: dict[tuple[Any, ...], set[str]] = {}
    for config, record in zip(configs, records.values(), strict=True):
        key = (config, record.sparsity["ratio_asked"], record.seed)
        seen.setdefault(key, set()).add(record.dataset["fingerprint"])
    apart = {key[0] for key, images in seen.items() if len(images) > 1}
    return [
        record.dataset["fingerprint"] if config in apart else ""
        for config, record in zip(configs, records.values(), strict=True)
    ]


def _letter(place: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    lap, turn = divmod(place, 26)
    return (_letter(lap - 1) if lap else "") + chr(ord("A") + turn)


def _last(override: str) -> str:
    """The last part of the key of an override."""
    return override.partition("=")[0].lstrip("+").rpartition(".")[2]


def bound_config(value: Any) -> Any:
    """A config without what may differ between the runs of one configuration.

    Of a file of weights it keeps whether there is one: every seed may have a start of its own.
    """
    if isinstance(value, Mapping):
        bound = {key: bound_config(part) for key, part in without_added(value).items() if key not in _FREE}
        return bound | {key: value[key] is not None for key in value if key == "weights"}
    return [bound_config(part) for part in value] if isinstance(value, list) else value


def _precision(protocols: Protocols | None, suffix: str) -> dict[str, float | None]:
    if protocols is None:
        return {}
    return {
        f"map_{suffix}": protocols["coco"]["map"],
        f"map_50_{suffix}": protocols["coco"]["map_50"],
        f"map_50_paper_{suffix}": protocols["paper"]["map_50"],
    }
