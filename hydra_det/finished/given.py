"""A network from a file of weights, and the images that it is scored on: what `evaluate.py` takes in place of a run."""

import copy
import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from hydra_det.compaction.files import Make
from hydra_det.data.datamodule import DetectionData
from hydra_det.data.formats.names import read_names
from hydra_det.finished.scored import Scored
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.description import threat_model
from hydra_det.pipeline.precision import settled
from hydra_det.pipeline.stages.identity import source_of
from hydra_det.records.record import Attack
from hydra_det.store.store import Store
from hydra_det.types import InputError

log = logging.getLogger(__name__)

NETWORK = "given"  # what files and tables call it


class GivenWeights(Scored):
    """Weights to be scored under attacks. They are loaded when they are asked for; all test images are scored.

    Args:
        settings: as in `conf/evaluate.yaml`.

    Raises:
        InputError: no weights or data were given, or something that belongs to a run.
    """

    def __init__(self, settings: Config) -> None:
        if settings["network"] is not None:
            raise InputError(f"network: expected none beside model.weights=, got {settings['network']}; leave it out")
        self.model: dict[str, Any] = settings["model"]
        self.weights = Path(str(self.model["weights"]))
        parts = ("model", "data", "evaluation", "trainer")
        self.config: dict[str, Any] = dict(settled({part: settings[part] for part in parts}))
        self.attack: Attack = threat_model(settings["attack"])
        build.instantiate(settings["attack"])
        self.data: DetectionData = build.data(self.config)
        self.data.testing = True
        self.store = Store(Path(str(settings["store"])))
        self._names = None if settings["names"] is None else Path(str(settings["names"]))

    def __str__(self) -> str:
        return f"{self.weights.name} on {self.data.name}"

    @property
    def place(self) -> Path:
        """The file of weights."""
        return self.weights.resolve()

    @property
    def class_names(self) -> list[str]:
        """By label."""
        return self.data.class_names

    @property
    def make(self) -> Make:
        """From what was typed."""
        return functools.partial(build.network, settled_model(self.model, self.data.num_classes))

    def network(self, network: str) -> nn.Module:
        """A copy of the network."""
        return copy.deepcopy(self._network)

    def origin(self, network: str) -> dict[str, Any]:
        """The bytes of the weights, and what else makes the network."""
        settings = {key: value for key, value in self.model.items() if key not in build.FILES}
        identity = getattr(self._network, "identity", dict)  # what it says, wherever a file of it lies
        return {"sha256": self._sha256, "model": {**settings, **identity(), **source_of(self.model)}}

    @functools.cached_property
    def _sha256(self) -> str:
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @functools.cached_property
    def _network(self) -> Any:
        """Built and filled once; others work on copies."""
        self._check_classes()
        net = network_from_weights(self.model, self.data.num_classes, source="data")
        size = self.data.image_size
        if (made_for := getattr(net, "made_for", None)) and max(made_for) != size:
            log.warning(
                "the .cfg is made for images of %d px, they are scored at data.image_size=%d", max(made_for), size
            )
        return net

    def _check_classes(self) -> None:
        mine = self.data.class_names
        if self._names is None:
            log.info("the classes of the weights are taken to be those of the data, in this order: %s", _listed(mine))
            return
        theirs = read_names(self._names)
        if not _same_order(theirs, mine):
            raise InputError(
                f"names: expected the classes of the data in their order ({_listed(mine)}), got {_listed(theirs)} from "
                f"{self._names}; score these weights on data that have their classes"
            )
        other = [f"{one} for {two}" for one, two in zip(theirs, mine, strict=True) if _key(one) != _key(two)]
        if other:
            log.info("classes of other names at the same place are taken to be the same: %s", ", ".join(other))


def network_from_weights(model: Config, num_classes: int, *, source: str) -> Any:
    """A network with all of its weights from a file.

    Args:
        model: its config, with `weights`, which may say some of it.
        num_classes: that it tells apart.
        source: the setting that says how many these are, for messages.

    Raises:
        InputError: settings that the weights were expected to say, or weights for other classes.
    """
    net = build.network(settled_model(model, num_classes))
    if build.load(net, Path(str(model["weights"]))):
        raise InputError(
            f"{source}: expected all classes of {model['weights']}, got {num_classes}, for which it has no weights; "
            "give what belongs to it"
        )
    return net


def settled_model(model: Config, num_classes: int) -> dict[str, Any]:
    """The config that makes such a network, which its weights may say some of, and loads nothing."""
    settings = {key: value for key, value in model.items() if value is not None and key not in build.FILES}
    settled = build.settle({**settings, "num_classes": num_classes, "weights": model["weights"]}, train_boxes=None)
    return {**settled, "weights": None}


def _same_order(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists can mean the same classes: most names are equal, and none stands at another place.

    Darknet's coco.names says motorbike and sofa where COCO says motorcycle and couch.
    """
    ours, theirs = [_key(name) for name in names], [_key(name) for name in others]
    if len(ours) != len(theirs):
        return False
    other = [name for name, wanted in zip(ours, theirs, strict=True) if name != wanted]
    return len(other) * 2 < len(ours) and not {*other} & {*theirs}


def _key(name: str) -> str:
    return "".join(name.lower().split())


def _listed(names: Sequence[str], shown: int = 6) -> str:
    """The first names, and how many there are."""
    rest = "" if len(names) <= shown else f", ... ({len(names)})"
    return ", ".join(names[:shown]) + rest
