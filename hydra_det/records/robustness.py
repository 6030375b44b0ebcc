"""The result of a suite of attacks, `robustness.json`: documentation and static types at once, as in `record.py`."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from hydra_det.records.record import Attack, Protocols
from hydra_det.records.schema import read_checked

ROBUSTNESS = "robustness.json"
# Of the suites whose attacks have changed, by name; of all others 1. Version 2 attacks AP itself, too.
VERSIONS = {"quick": 2, "standard": 2, "thorough": 2}


class Alarm(TypedDict):
    """A reason to doubt a robustness number: one figure against one limit."""

    name: str
    figure: float | None  # None: the suite holds no attack that would tell
    limit: float
    raised: bool | None  # None: not checked
    meaning: str  # what the figure is a share of


class SuiteAttack(TypedDict):
    """One attack of a suite on all test images."""

    name: str  # in the suite
    attack: Attack
    config: dict[str, Any]  # all of its settings
    metrics: Protocols
    worst_for: int  # images that it was chosen for in the worst case
    seconds: float  # until the result was there; little where it was in the store


class Origin(TypedDict):
    """Where a robustness number comes from."""

    run: str  # folder
    created: str  # UTC, ISO 8601
    commit: str | None
    versions: dict[str, str | None]
    attack_seed: int
    dataset: str  # fingerprint of the test images
    transfer: str | None  # folder of the run, and network, that the attack `transfer` was made on


class Robustness(TypedDict):
    """A network under a suite of attacks."""

    origin: Origin
    suite: str
    version: NotRequired[int]  # of the suite; missing: 1
    epsilon: float | None  # of the ball that the worst case is looked for in; None: no ball, as for corruptions
    padding: NotRequired[bool]  # all attacks may change letterbox padding; missing: none in the worst case does
    engine: NotRequired[str]  # that computed what is scored; missing: torch
    network: str
    images: int
    clean: Protocols
    attacks: list[SuiteAttack]
    combined: (
        Protocols | None
    )  # the worst case, every image under the attack chosen for it; None: attacks of different strengths on purpose
    robust_map: float | None  # AP of the worst case, and the robust AP is at most that; None: no such number
    curve: list[float]  # mean loss along a walk, see `attacks.diagnosis`
    alarms: list[Alarm]


def suite_name(found: Robustness) -> str:
    """The name of a suite, and its version where it is an earlier one, with fewer kinds of attack."""
    version = found.get("version", 1)
    return found["suite"] if version == version_of(found["suite"]) else f"{found['suite']}, version {version}"


def version_of(suite: str) -> int:
    """Of a suite as it is now."""
    return VERSIONS.get(suite, 1)


def read_robustness(path: str | Path) -> Robustness:
    """Read the result of a suite back.

    Raises:
        RecordError: The file is none; the message names the file and the key.
    """
    return Robustness(**read_checked(path, Robustness, what="what a suite of attacks wrote"))  # type: ignore[typeddict-item]
