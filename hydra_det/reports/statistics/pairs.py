"""Which configurations are compared with which."""

import json
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from hydra_det.records.record import Record
from hydra_det.records.table import bound_config
from hydra_det.reports.paper import COMPARISONS, CONFIGURATIONS

SCORE_STAGES = ("init_scores", "train_scores", "prune")  # they choose what goes, and where nothing goes they are idle
MAX_PAIRS = 15  # all of six configurations; more than a reader, or a correction for many tests, can take


class Pairs(NamedTuple):
    """Two configurations each."""

    chosen: dict[str, tuple[str, str]]  # by the name of the comparison
    left_out: list[tuple[str, str]]  # beyond `MAX_PAIRS`


def choose_pairs(frame: pd.DataFrame) -> Pairs:
    """The paper's comparisons where its configurations are there; of the others, all pairs that hold one of them.

    If those are too many, the ones that differ in the least come first and the rest is left out.
    """
    ours = paper_configurations(frame)
    papers = [(ours[first], ours[second]) for first, second in COMPARISONS.values() if {first, second} <= ours.keys()]
    covered = {configuration for pair in papers for configuration in pair}
    names = sorted(frame["configuration"].unique())
    others = [pair for pair in combinations(names, 2) if not covered.issuperset(pair)]
    others.sort(key=lambda pair: len(set(pair[0].split(", ")) ^ set(pair[1].split(", "))))
    room = max(0, MAX_PAIRS - len(papers))
    chosen = {f"{first} vs. {second}": (first, second) for first, second in (*papers, *others[:room])}
    return Pairs(chosen, others[room:])


def paper_configurations(frame: pd.DataFrame) -> dict[str, str]:
    """Our configuration of each of the paper's, where there is one; where there are several, the plain one."""
    found = {}
    for name, cell in CONFIGURATIONS.items():
        alike = frame[
            (frame["granularity"] == cell.granularity)
            & (frame["init"] == cell.init)
            & (frame["greyscale"].astype(bool) == bool(cell.greyscale))
        ]["configuration"].unique()
        plain = [configuration for configuration in alike if configuration == name]
        if plain or len(alike) == 1:
            found[name] = str((plain or list(alike))[0])
    return found


def differ_in_pruning_only(first: Record, second: Record) -> bool:
    """Whether two runs must come to the same where nothing is pruned: only their scores and their masks differ."""
    return _beside_pruning(first) == _beside_pruning(second)


def _beside_pruning(record: Record) -> str:
    config: Mapping[str, Any] = bound_config(record.config)
    rest = {key: value for key, value in config.items() if key not in ("init", "prune", "choices")}
    stages = rest.get("stage")
    if isinstance(stages, Mapping):
        rest["stage"] = {key: value for key, value in stages.items() if key not in SCORE_STAGES}
    return json.dumps([rest, record.dataset["fingerprint"]], sort_keys=True)
