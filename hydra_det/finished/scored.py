"""What can be scored under attacks: the networks of a finished run, or weights of anybody's."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from hydra_det.data.datamodule import DetectionData
from hydra_det.files.atomic import write_atomically
from hydra_det.finished.given import NETWORK as GIVEN
from hydra_det.finished.given import GivenWeights
from hydra_det.finished.run import FinishedRun
from hydra_det.pipeline.build import Config
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import Attack, NetworkMetrics
from hydra_det.types import InputError

FILE = "evaluation.json"
OF_WEIGHTS = ("model", "data", "names", "evaluation", "trainer", "seed", "store")  # settings that a run has itself


class Scored(Protocol):
    """Networks with the images that they are scored on; as a text, what a table calls them.

    Attributes:
        config: `evaluation`, `data`, `model` and `trainer` are read.
        data: with the test images.
        attack: that `score` runs if it is given none.
    """

    config: dict[str, Any]
    data: DetectionData
    attack: Attack

    @property
    def place(self) -> Path:
        """Where they come from: a folder or a file, absolute."""
        ...

    @property
    def class_names(self) -> list[str]:
        """By label."""
        ...

    def network(self, network: str) -> nn.Module:
        """A new copy of one of them."""
        ...

    def score(
        self,
        network: str,
        *,
        attack: Mapping[str, Any] | None = None,
        source: nn.Module | None = None,
        source_key: str | None = None,
    ) -> tuple[NetworkMetrics, Path]:
        """AP of a network, and the folder with its detections.

        Args:
            network: which.
            attack: config of an attack; None: `self.attack`.
            source: the network that adversarial images are made on; None: the one that is scored.
            source_key: what says which one that is.
        """
        ...


def open_scored(settings: Config, *, typed: Sequence[str] = ()) -> tuple[Scored, str]:
    """What a config asks for, and which of its networks: of the run under `run`, or the weights under `model`.

    Args:
        settings: as in `conf/evaluate.yaml`.
        typed: the words of the command.

    Raises:
        InputError: neither is given, or both.
    """
    run, model, data = settings["run"], settings.get("model"), settings.get("data")
    if run is not None:
        if odd := [word for word in typed if re.split(r"[.=@]", word.lstrip("+~"))[0] in OF_WEIGHTS]:
            raise InputError(f"{odd[0]}: expected nothing of the kind beside run=, which has its own; leave it out")
        finished = FinishedRun(run, attack=settings["attack"], trusted=settings["trust"])
        return finished, "pruned" if settings["network"] is None else settings["network"]
    weights = None if model is None else model.get("weights")
    parts = {"model": model, "model.weights": weights, "data": data}
    if missing := [f"{key}=" for key, part in parts.items() if part is None]:
        raise InputError(
            "expected run=, the folder of a finished run, or model=, model.weights= and data=; got no "
            f"{' and no '.join(missing if len(missing) < len(parts) else ['run=', *missing])}"
        )
    return GivenWeights(settings), GIVEN


def write_scores(folder: Path, scored: Scored, network: str, scores: NetworkMetrics, detections: Path) -> Path:
    """Write what was scored, how and to what result, into a folder. Returns the file."""
    about = {
        "run": str(scored.place),
        "network": network,
        "model": scored.config["model"],
        "dataset": {
            "name": scored.data.name,
            "test": len(scored.data.splits["test"].records),
            "fingerprint": scored.data.fingerprints["test"],
        },
        "attack": scored.attack,
        "metrics": scores,
        "detections": str(detections.resolve()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": collect_versions(),
        "commit": current_commit(),
    }
    write_atomically(folder / FILE, json.dumps(about, indent=2, allow_nan=False) + "\n")
    return folder / FILE
