"""What was run: data, network, attack, training, seeds, machine, software, each in a line or two of words."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hydra_det.records.record import Record, nms_confidence
from hydra_det.records.table import typed_apart
from hydra_det.records.traits import plain_names
from hydra_det.reports.runs import Runs
from hydra_det.reports.tables.terminal import threat_in_words

LETTER = re.compile(r", [A-Z]+$")  # ends the name of a configuration that is told apart by nothing short
MAX_CLASSES = 12  # named one by one


def overview(runs: Runs) -> list[tuple[str, list[str]]]:
    """What was run, as terms with their lines; where runs differ, every variant has a line."""
    frame, records = runs.frame, runs.records
    rows: list[tuple[str, list[str]]] = [
        ("Data", _different(records, _data)),
        ("Network", _different(records, _network)),
        ("Attack of the test images", _different(records, lambda record: [threat_in_words(record.attack)])),
        ("Training", _different(records, _training)),
        ("Masks", _different(records, _masks)),
        ("Configurations", _configurations(runs)),
        ("Pruning ratios", [", ".join(f"{100 * ratio:g} %" for ratio in sorted(frame["ratio"].unique()))]),
        ("Seeds", [", ".join(map(str, sorted(frame["seed"].unique())))]),
        ("Runs", [_counts(runs)]),
        ("Timed on", _different(records, _machine)),
        ("Software", _different(records, _software)),
        ("Commit", _different(records, lambda record: [record.commit or "not known"])),
        ("Folders", [str(folder) for folder in runs.folders]),
    ]
    return [(term, lines) for term, lines in rows if lines]


def _configurations(runs: Runs) -> list[str]:
    """Their names; behind one that ends in a letter, what was typed for it and not for the others."""
    names = dict(zip(runs.frame["folder"], runs.frame["configuration"], strict=True))
    typed = typed_apart(runs.records, plain_names(runs.records))
    key = {name: typed[folder] for folder, name in names.items() if typed[folder] and LETTER.search(name)}
    return [f"{name}: {key[name]}" if name in key else name for name in sorted(set(names.values()))]


def _different(records: Mapping[str, Record], say: Callable[[Record], list[str]]) -> list[str]:
    """What is said of the records, each line once."""
    return list(dict.fromkeys(line for record in records.values() for line in say(record)))


def _data(record: Record) -> list[str]:
    data, classes = record.dataset, record.dataset["classes"]
    named = ", ".join(classes) if len(classes) <= MAX_CLASSES else f"{', '.join(classes[:MAX_CLASSES])}, ..."
    return [
        f"{data['name']}: {data['train']:,} training, {data['val']:,} validation and {data['test']:,} test images; "
        f"{len(classes)} {'class' if len(classes) == 1 else 'classes'} ({named}); fingerprint {data['fingerprint']}"
    ]


def _network(record: Record) -> list[str]:
    name = record.config.get("choices", {}).get("model", "not named")
    if "dense" not in record.sizes:
        return [str(name)]
    size = record.sizes["dense"]
    return [f"{name}: {size['parameters']:,} parameters, {size['flops'] / 1e6:,.0f} million operations an image, dense"]


def _training(record: Record) -> list[str]:
    stages = record.config.get("stage")
    epochs = {
        name: stage["epochs"]
        for name, stage in (stages.items() if isinstance(stages, Mapping) else ())
        if isinstance(stage, Mapping) and stage.get("epochs")
    }
    order = [stage["name"] for stage in record.stages]
    names = sorted(epochs, key=lambda name: order.index(name) if name in order else 99)
    words = [f"{name} {epochs[name]}" for name in names]
    hardening = record.config.get("choices", {}).get("hardening")
    lines = [f"epochs: {', '.join(words)}"] if words else []
    shares = {name: stages[name].get("attacked_share") for name in names} if isinstance(stages, Mapping) else {}
    shared = [f"{name} {share:g}" for name, share in shares.items() if share is not None]
    lines += [f"share of attacked batches: {', '.join(shared)}"] if shared else []
    lines += [f"hardening: {hardening}"] if hardening else []
    return ["; ".join(lines)] if lines else []


def _masks(record: Record) -> list[str]:
    sparsity = record.sparsity
    return [f"units: {sparsity['granularity']}; shared out: {sparsity['allocation']}; counted: {sparsity['budget']}"]


def _machine(record: Record) -> list[str]:
    return [
        f"{latency['device_name']}, {latency['dtype']}, {latency['threads']} CPU threads, batch of "
        f"{latency['batch_size']}, {latency['image_size'][1]} x {latency['image_size'][0]} px, "
        f"{latency['repeats']} repeats, NMS from confidence {nms_confidence(latency):g} on"
        for latency in record.latency.values()
    ]


def _software(record: Record) -> list[str]:
    return [", ".join(f"{name} {version or 'not there'}" for name, version in sorted(record.versions.items()))]


def _counts(runs: Runs) -> str:
    made = sorted(record.created for record in runs.records.values())
    seconds = sum(cost for _, cost in _trained(runs.records))
    missing = len((runs.problems.keys() | runs.failures.keys()) - runs.records.keys())
    unusable = f", {missing} unusable" if missing else ""
    span = " to ".join(dict.fromkeys(_minute(moment) for moment in (made[0], made[-1])))
    return f"{len(runs.records)} finished{unusable}; {span}; all stages took {_duration(seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 3600 else f"{seconds / 3600:,.1f} hours"


def _minute(created: str) -> str:
    """A time in ISO 8601 to the minute."""
    return f"{created[:16].replace('T', ' ')} UTC"


def _trained(records: Mapping[str, Record]) -> Iterator[tuple[Any, float]]:
    """Every stage once, with what it cost."""
    stages = {(s["name"], s["fingerprint"]): s["seconds"] for record in records.values() for s in record.stages}
    yield from stages.items()
