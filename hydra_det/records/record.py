"""The result of one run, and its only crossing from computing to reporting: `record.json`.

The typed dictionaries below are at once the documentation, the static types and the schema that a file is checked
against. Nothing here needs more than the standard library, so a report is made where torch is not installed.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, get_type_hints

from hydra_det.files.atomic import write_atomically
from hydra_det.records.renamed import current_names
from hydra_det.records.schema import CHECKSUM, RecordError, check_keys, check_plain, checksum, read_object, refuse

RECORD_NAME, FAILED_NAME = "record.json", "failed.txt"  # in the folder of a run: what came out, or why nothing did
SCHEMA_VERSION = 5


# Least confidence that counts, by protocol. COCO's own figures keep nearly everything; the paper cuts at 0.5, as a
# product would, which alone costs an undefended YOLOv3 a quarter of its AP50.
PROTOCOLS: dict[str, float] = {"coco": 0.001, "paper": 0.5}


class AveragePrecision(TypedDict):
    """COCO's numbers in [0, 1] for one network, one set of images and one confidence floor; None: no such objects."""

    map: float | None  # AP@[.5:.95], mean over classes
    map_50: float | None
    map_75: float | None
    map_small: float | None  # area of the object below 32^2 pixels of the original image
    map_medium: float | None
    map_large: float | None  # above 96^2
    mar_100: float | None  # average recall with at most 100 detections of a class in an image
    map_per_class: dict[str, float | None]  # AP@[.5:.95] by category name
    detections_per_image: float  # mean, images without any detection included


class Protocols(TypedDict):
    """Both evaluation protocols of the same detections."""

    coco: AveragePrecision  # confidence >= 0.001
    paper: AveragePrecision  # confidence >= 0.5
    # AP by `coco` of resampled test images (bootstrap). The k-th value is of the same choice in all runs on them.
    bootstrap: NotRequired[list[float]]


class NetworkMetrics(TypedDict):
    """What one network scores on the test images."""

    clean: Protocols
    attacked: Protocols | None  # None: not attacked in this run


class Metrics(TypedDict):
    """The network before pruning and the one that comes out of the run."""

    dense: NetworkMetrics
    pruned: NetworkMetrics


class Spread(TypedDict):
    """Repeated timings of one part, milliseconds a batch."""

    median_ms: float
    iqr_ms: float  # interquartile range


class Suppressed(TypedDict):
    """NMS from one confidence on."""

    nms: Spread
    total: Spread  # forward and decode included
    candidates: float | None  # mean number of boxes an image that reach NMS; None: not counted


class Latency(Suppressed):
    """Where the time of one network goes, and on what it was measured."""

    forward: Spread
    decode: Spread
    confidence: NotRequired[float]  # from which NMS counts boxes; missing in older records, which count from COCO's
    coco: NotRequired[Suppressed]  # the same answers with NMS from COCO's confidence on
    batch_size: int
    image_size: list[int]  # [height, width] in pixels
    repeats: int
    device: str  # "cpu", "cuda"
    device_name: str
    dtype: str
    threads: int  # of the CPU, within one operation
    load: float | None  # processes that were ready to run, per core, in the minute before; None: not known here


class Dataset(TypedDict):
    """What the networks saw; the counts are images."""

    name: str
    fingerprint: str
    classes: list[str]  # by label
    train: int
    val: int
    test: int


class LayerSparsity(TypedDict):
    """Weights of one masked layer."""

    name: str
    shape: list[int]
    kept: int
    pruned: int


class Sparsity(TypedDict):
    """What was asked and what was reached; the counts are weights of all masked layers."""

    ratio_asked: float  # fraction to remove
    granularity: str
    allocation: str  # how the ratio was shared out over layers
    budget: str  # what the ratio counts
    kept: int
    pruned: int
    total: int
    layers: list[LayerSparsity]


class Stage(TypedDict):
    """One stage of the run; a reused one was finished by an earlier run."""

    name: str
    fingerprint: str
    seconds: float  # of training; of a reused stage what it cost when it was trained
    reused: bool
    folder: str
    # What its callbacks found out, such as the completeness gap of DeepLIFT; `history` is a dict an epoch.
    facts: NotRequired[dict[str, Any]]


class NetworkSize(TypedDict):
    """What a network takes."""

    parameters: int
    flops: int  # of the convolutions for one image, two per multiplication
    file_bytes: int  # of its weights in float32
    peak_bytes: int | None  # of memory for one image, above the network itself; None: not measured


class EngineResult(TypedDict):
    """The compact network in one runtime."""

    engine: str
    file_bytes: int | None  # None: no file of its own
    difference: float  # largest one to the raw maps of torch in float32, as a share of their largest value
    metrics: NetworkMetrics | None  # None: not scored


class EngineLatency(TypedDict):
    """Where the time of one network goes in one runtime."""

    network: str  # dense, masked, compact
    engine: str
    latency: Latency


class Compaction(TypedDict):
    """The network that is left when all that adds nothing is removed, beside the dense and the masked one."""

    created: str  # UTC, ISO 8601
    commit: str | None
    versions: dict[str, str | None]
    multiple: int  # that channels were rounded up to
    differences: dict[str, float]  # largest one to the raw maps of the masked network, by precision
    sizes: dict[str, NetworkSize]  # by network
    engines: list[EngineResult]
    latency: list[EngineLatency]


class Attack(TypedDict):
    """The threat model of the attacked numbers."""

    name: str
    epsilon: float  # in the unit of the images, [0, 1]
    step_size: NotRequired[float | None]
    steps: NotRequired[int | None]
    random_start: NotRequired[bool | None]
    norm: NotRequired[str | None]  # of the ball: "linf", "l2", or "none"
    objective: NotRequired[str | None]  # what the attack raises
    start: NotRequired[str | None]  # the attack from whose end this one begins
    restarts: NotRequired[int | None]
    eight_bit: NotRequired[bool | None]
    padding: NotRequired[bool | None]  # letterbox padding was changed, too; missing or None: it was not
    queries: NotRequired[int | None]  # of a black-box attack
    kind: NotRequired[str | None]  # of corruption, which is no attack and has no ball
    severity: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything a report may know about a run. Plain values only: it equals itself after a round trip through JSON."""

    name: str
    created: str  # UTC, ISO 8601
    config: dict[str, Any]  # resolved
    seed: int
    overrides: list[str]  # as typed on the command line
    versions: dict[str, str | None]
    commit: str | None
    dataset: Dataset
    sparsity: Sparsity
    stages: list[Stage]
    metrics: Metrics
    latency: dict[str, Latency]  # by network: dense, pruned (masked), compact; sparse: compact, in that engine
    sizes: dict[str, NetworkSize]  # by network: dense, pruned, compact
    attack: Attack
    compaction: Compaction | None = None  # None: compact.py was not run on it
    schema_version: int = SCHEMA_VERSION


def nms_confidence(latency: Latency) -> float:
    """From which confidence on NMS counted boxes; a record that does not say it was written when that was COCO's."""
    return latency.get("confidence", PROTOCOLS["coco"])


def suppressed(latency: Latency, confidence: float) -> Suppressed | None:
    """NMS from a confidence on; None where that was not timed."""
    if nms_confidence(latency) == confidence:
        return latency
    return latency.get("coco") if confidence == PROTOCOLS["coco"] else None


def write_record(path: str | Path, record: Record) -> None:
    """Check a record and write it whole or not at all, as JSON with sorted keys and a trailing newline."""
    payload = dataclasses.asdict(record)
    check_plain(payload, str(path))
    _check_payload(payload, str(path))
    content = {**payload, CHECKSUM: checksum(payload)}
    write_atomically(path, json.dumps(content, allow_nan=False, indent=2, sort_keys=True) + "\n")


def read_record(path: str | Path) -> Record:
    """Read a record back; classes that have moved since it was written are named where they are now.

    Raises:
        RecordError: The file is not a record of this version; the message names the file and the key.
    """
    payload = read_object(path, what="the record of a run")
    written = payload.pop(CHECKSUM, None)
    _check_payload(payload, str(path))
    if written != (computed := checksum(payload)):
        refuse(str(path), CHECKSUM, f"{computed}, as of what the file says; was it changed or damaged?", written)
    return Record(**{**payload, "config": current_names(payload["config"])})


def _check_payload(payload: dict[str, Any], path: str) -> None:
    """Raise a `RecordError` unless the payload is a record of this version."""
    version = payload.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: schema_version: expected {SCHEMA_VERSION}, got {version!r:.60}; "
            "read it with the hydra_det that wrote it, or run the job again"
        )
    hints = get_type_hints(Record)
    for key in payload.keys() - hints.keys():
        raise RecordError(f"{path}: {key:.100}: not a key of a record; expected {', '.join(sorted(hints))}")
    check_keys(payload, hints, frozenset(hints), path, "")
    sparsity = payload["sparsity"]
    if (weights := sparsity["kept"] + sparsity["pruned"]) != sparsity["total"]:
        refuse(path, "sparsity.total", f"kept + pruned = {weights}", sparsity["total"])
    config = payload["config"]  # free in form but for what reports read of it
    check_keys(config, {"choices": dict[str, str], "data": dict[str, Any]}, frozenset(), path, "config.")
    for network, timed in payload["latency"].items():
        if len(timed["image_size"]) != 2:
            refuse(path, f"latency.{network}.image_size", "[height, width]", timed["image_size"])
