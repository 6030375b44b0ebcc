"""What can be scored under attacks: networks, of a finished run or from a file, with their images."""

import functools
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hydra_det.compaction.files import Make
from hydra_det.data.datamodule import DetectionData
from hydra_det.engines.registry import ENGINES
from hydra_det.files.atomic import write_atomically
from hydra_det.finished.in_engine import TORCH, InEngine, in_another_engine
from hydra_det.pipeline.precision import of_scores
from hydra_det.pipeline.scoring import score
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import Attack, NetworkMetrics
from hydra_det.store.store import Store

log = logging.getLogger(__name__)

FILE = "evaluation.json"
ON_CPU = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "num_nodes": 1, "precision": "32-true"}


def on_cpu(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose networks are scored on the CPU in float32."""
    return {
        **config,
        "trainer": {**config["trainer"], **ON_CPU},
        "evaluation": {**config["evaluation"], "precision": None},  # the trainer's
    }


class Scored(ABC):
    """Networks with the images that they are scored on; as a text, what a table calls them.

    Attributes:
        config: `evaluation`, `data`, `model` and `trainer` are read.
        data: with the test images.
        store: where scores are kept.
        attack: that `score` runs if it is given none.
        engine: that computes the raw maps which are scored; adversarial images are made in torch.
    """

    config: dict[str, Any]
    data: DetectionData
    store: Store
    attack: Attack
    engine: str = TORCH

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where they come from: a folder or a file, absolute."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """By label."""

    @property
    @abstractmethod
    def make(self) -> Make:
        """What makes one of them, with any weights."""

    @abstractmethod
    def network(self, network: str) -> nn.Module:
        """A new copy of one of them."""

    @abstractmethod
    def origin(self, network: str) -> dict[str, Any]:
        """What says, in the store, which network it is; plain values."""

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
        net: nn.Module  # first: it says what is wrong with a file
        if self.engine == TORCH:
            net, about = self.network(network), {}
        else:
            net = inside = self._in_engine(network)
            source = inside.network if source is None else source
            about = {"engine": self.engine, "packages": engine_packages(self.engine)}
        origin = {**self.origin(network), **({} if source_key is None else {"source": source_key}), **about}
        config = self.scoring_config
        if attack is not None:
            config = {**config, "evaluation": {**config["evaluation"], "attack": dict(attack)}}
        self.data.prepare()
        return score(net, config, data=self.data, store=self.store, origin=origin, attacked=source)

    @property
    def scoring_config(self) -> dict[str, Any]:
        """The config with the trainer that scores: on the CPU in float32 where an engine computes."""
        if self.engine == TORCH:
            return of_scores(self.config)
        return on_cpu(self.config)

    def _in_engine(self, network: str) -> InEngine:
        """One of them in the engine, which is opened once."""
        if network not in self._engines:
            log.info("%s computes what is scored, on the CPU in float32; torch makes the attacks", self.engine)
            self._engines[network] = in_another_engine(
                self.engine, self.network(network), image_size=self.data.image_size, make=self.make
            )
        return self._engines[network]

    @functools.cached_property
    def _engines(self) -> dict[str, InEngine]:
        return {}


def engine_packages(engine: str) -> dict[str, str | None]:
    """Versions of what an engine computes with."""
    versions = collect_versions()
    return {**{name: versions.get(name) for name in ENGINES[engine].packages}, "torch": torch.__version__}


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
        "engine": scored.engine,
        "metrics": scores,
        "detections": str(detections.resolve()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": collect_versions(),
        "commit": current_commit(),
    }
    write_atomically(folder / FILE, json.dumps(about, indent=2, allow_nan=False) + "\n")
    return folder / FILE
