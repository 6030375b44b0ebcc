"""A finished run, opened again from its folder."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from hydra_det.compaction.files import ARCHITECTURE, COMPACT, WEIGHTS, Make, load_compact
from hydra_det.finished.scored import Scored, engine_packages
from hydra_det.modules.weights import weights_hash
from hydra_det.pipeline import build
from hydra_det.pipeline.description import threat_model
from hydra_det.pipeline.run_config import read_run_config
from hydra_det.pipeline.stages.stage import Stage
from hydra_det.pipeline.stages.stage_runner import StageRunner
from hydra_det.records.record import RECORD_NAME, Attack, Record, RecordError, read_record
from hydra_det.store.store import ABOUT, Store, read_about
from hydra_det.types import InputError

# Which stage each network of a run comes from.
NETWORKS = {"dense": "pretrain", "pruned": "finetune", "compact": "finetune"}


class FinishedRun(Scored):
    """The networks of a run, to be scored under another attack or used. Its data are read only when it is scored.

    Args:
        folder: of the run.
        attack: config of the attack; None: the one that the run was scored under.
        trusted: classes that the config in the folder may name besides the package's own.

    Attributes:
        record: as it was written.

    Raises:
        InputError: there is no finished run, or its record or config are not as they were written.
    """

    def __init__(
        self, folder: str | Path, *, attack: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()
    ) -> None:
        self.folder = Path(folder)
        if not (self.folder / RECORD_NAME).is_file():
            state = "holds no record.json; did that run fail?" if self.folder.is_dir() else "does not exist"
            raise InputError(f"run: expected the folder of a finished run, got {folder}, which {state}")
        try:
            self.record: Record = read_record(self.folder / RECORD_NAME)
        except RecordError as error:
            raise InputError(str(error)) from error
        config = read_run_config(self.folder / "config.yaml", trusted=trusted)
        attack = config["evaluation"]["attack"] if attack is None else attack
        self.attack: Attack = threat_model(attack)
        self.config = {**config, "evaluation": {**config["evaluation"], "attack": dict(attack)}}
        build.instantiate(dict(attack))
        self.data = build.data(self.config)
        self.store = Store(Path(config["store"]))
        self.runner = StageRunner(self.config, data=self.data, model=config["model"], store=self.store)

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def place(self) -> Path:
        """Where it lies."""
        return self.folder.resolve()

    @property
    def make(self) -> Make:
        """What makes its networks whole: the config that was read and checked, whatever files beside it say."""
        model = {key: value for key, value in self.runner.model.items() if key not in build.MODEL_OPTIONS}
        return functools.partial(build.network, model)

    @property
    def class_names(self) -> list[str]:
        """By label."""
        return list(self.record.dataset["classes"])

    def network(self, network: str) -> nn.Module:
        """The `dense` or the `pruned` network, masked where its stage is, or what `compact.py` made of the latter."""
        stage = self.stage(network)
        if network != COMPACT:
            return self.runner.network(stage)
        if not (self.folder / COMPACT).is_dir():
            raise InputError(
                f"network: expected one that was made, got compact; first run compact.py run={self.folder}"
            )
        made, about = load_compact(self.folder / COMPACT, make=self.make)
        if about.get("fingerprint") != stage.key:
            raise InputError(
                f"{self.folder / COMPACT}: expected the compact network of this run, got that of another one; run "
                f"compact.py run={self.folder} again"
            )
        return made

    def origin(self, network: str) -> dict[str, Any]:
        """Its stage, and how it differs from what that left."""
        return {**self.stage(network).origin, **self.variant(network)}

    def variant(self, network: str) -> dict[str, Any]:
        """How a network differs from what its stage left."""
        return compact_variant(self.folder / COMPACT, "torch") if network == COMPACT else {}

    def stage(self, network: str) -> Stage:
        """That a network comes from."""
        if network not in NETWORKS:
            raise InputError(f"network: expected one of {', '.join(NETWORKS)}, got {network!r}")
        name = NETWORKS[network]
        if not (self.folder / "stages" / name / ABOUT).is_file():
            raise InputError(
                f"run: expected the stage {name} of {self.folder}, found none; it was deleted from {self.store.root}, "
                "type the command of that run again"
            )
        about = read_about(self.folder / "stages" / name)
        if not isinstance(about.get("fingerprint"), str) or not isinstance(about.get("seconds"), int | float):
            raise InputError(
                f"{self.folder / 'stages' / name / ABOUT}: expected fingerprint and seconds of a stage, found others; "
                "type the command of that run again"
            )
        return Stage(
            name, about["fingerprint"], self.folder / "stages" / name, about["seconds"], about.get("facts", {}), True
        )


def load_run(folder: str | Path, *, trusted: Sequence[str] = ()) -> FinishedRun:
    """A finished run from its folder: its networks, its record and its data.

    Args:
        folder: of the run, such as `outputs/demo`.
        trusted: classes that its config may name besides those of hydra_det, such as `my_package.MyNetwork`.

    Raises:
        InputError: there is no finished run, or its files are not as they were written.
    """
    return FinishedRun(folder, trusted=trusted)


def compact_variant(folder: Path, engine: str, **options: Any) -> dict[str, Any]:
    """What the AP of a compact network depends on besides the images and the attack."""
    architecture = hashlib.sha256((folder / ARCHITECTURE).read_bytes()).hexdigest()
    packages = engine_packages(engine)
    weights = weights_hash(folder / WEIGHTS)
    return {"weights": weights, "architecture": architecture, "engine": engine, "packages": packages, **options}
