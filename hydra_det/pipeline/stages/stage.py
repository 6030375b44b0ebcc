"""A finished stage, and the names of the five."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("pretrain", "init_scores", "train_scores", "prune", "finetune")
WEIGHTS, LOGS = "weights.safetensors", "tensorboard"


@dataclass(frozen=True)
class Stage:
    """A finished stage: what the next one starts from.

    Attributes:
        name: one of `STAGES`.
        key: its fingerprint.
        folder: where its weights lie.
        seconds: that it took when it was run.
        facts: what its callbacks found out, for the record.
        reused: it was there already.
    """

    name: str
    key: str
    folder: Path
    seconds: float
    facts: Mapping[str, Any]
    reused: bool

    @property
    def weights(self) -> Path:
        """The state of the network after this stage."""
        return self.folder / WEIGHTS

    @property
    def origin(self) -> dict[str, str]:
        """What says, in the store, that something was made of its network."""
        return {"stage": self.name, "key": self.key}

    def summary(self) -> dict[str, Any]:
        """For the record."""
        return {
            "name": self.name,
            "fingerprint": self.key,
            "seconds": self.seconds,
            "reused": self.reused,
            "folder": str(self.folder),
            "facts": dict(self.facts),
        }
