"""A network under a suite of attacks: AP under each, under the worst case, and the alarms.

Each attack is a result in the store like any other, so a suite that was interrupted goes on where it was, and attacks
that two suites share run once.
"""

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hydra_det.attacks.base import Attack, Losses, evaluate, gradient_of
from hydra_det.attacks.corruptions import Corruption
from hydra_det.attacks.diagnosis import Diagnosis, diagnose
from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, CLEAN
from hydra_det.callbacks.hardening.attacked_images import content_region, losses_of
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.evaluation.alarms import find_alarms, rise_alarm
from hydra_det.evaluation.coco_map import CocoResult, evaluate_protocols
from hydra_det.evaluation.robustness import put_together, worst_case
from hydra_det.files.atomic import write_atomically
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import to_dense
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.description import threat_model
from hydra_det.process.script import is_helper
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import Protocols, RecordError
from hydra_det.records.robustness import ROBUSTNESS, Alarm, Origin, Robustness, SuiteAttack, read_robustness
from hydra_det.store.store import fingerprint
from hydra_det.types import Batch, InputError

log = logging.getLogger(__name__)

SEVERITY = "severity"  # an axis of corruptions: no ball, no alarms
TRANSFER = "transfer"  # the attack of this name is made on another network
DIAGNOSED = 8  # images
AXES = (None, "epsilon", "steps", SEVERITY)
FILE, IMAGES = ROBUSTNESS, "images.csv"


class Suite:
    """A suite of attacks on one network of a finished run.

    Making one checks every attack before any of them runs.

    Args:
        run: finished.
        settings: as in `conf/evaluate.yaml`.
    """

    def __init__(self, run: FinishedRun, settings: Config) -> None:
        suite = settings["suite"]
        self.run = run
        self.network: str = settings["network"]
        self.name: str = suite["name"]
        self.epsilon: float | None = suite["epsilon"]
        self.axis: str | None = suite["axis"]
        self.configs: dict[str, dict[str, Any]] = dict(suite["attacks"])
        self.source = Source(settings) if settings["transfer"] else None
        self._check()
        self.attacks: dict[str, Attack] = {}
        for name, config in self.configs.items():
            try:
                made = build.instantiate(config)
            except InputError as error:
                raise InputError(f"suite.attacks.{name}: {error}") from error
            if made is None:
                raise InputError(f"suite.attacks.{name}: expected an attack, got none; leave it out instead")
            if (self.axis == SEVERITY) != isinstance(made, Corruption):
                wanted = "corruptions alone" if self.axis == SEVERITY else "suite=corruptions for corruptions"
                raise InputError(f"suite.attacks.{name}: expected {wanted}, got {type(made).__name__}")
            self.attacks[name] = made
        run.data.prepare()
        run.data.evaluation_passes = 2

    def estimate(self) -> dict[str, float]:
        """Seconds of every attack on all test images, from two passes over one batch of this network."""
        with self._looking(self.run.data.evaluation_batch_size) as (batch, losses):
            gradient = _seconds(lambda: gradient_of(losses["total"], batch["images"]), batch["images"].device)
            forward = _seconds(lambda: evaluate(losses["total"], batch["images"]), batch["images"].device)
        batches = len(self.run.data.splits["test"].records) / len(batch["targets"])
        return {
            name: batches * (attack.cost.gradients * gradient + (attack.cost.forwards + 2) * forward)
            for name, attack in self.attacks.items()
        }

    def diagnose(self, epsilon: float) -> Diagnosis:
        """What gradients the network has."""
        with self._looking(DIAGNOSED) as (batch, losses):
            return diagnose(batch["images"], losses, region=content_region(batch), epsilon=epsilon)

    def score(self, folder: Path) -> Robustness:
        """Run what has not been run, search for the worst case, write it into a folder."""
        truth = self.run.data.ground_truth("test")
        metrics: dict[str, Protocols] = {}
        found: dict[str, list[CocoResult]] = {}
        seconds: dict[str, float] = {}
        for number, name in enumerate(self.configs, 1):
            log.info("attack %d of %d: %s", number, len(self.configs), name)
            start = time.perf_counter()
            both, place = self._one(name)
            seconds[name] = round(time.perf_counter() - start, 2)
            for pass_name, condition in ((CLEAN, CLEAN), (name, ATTACKED)):
                metrics[pass_name] = both[condition]
                found[pass_name] = json.loads((place / f"detections_{condition}.json").read_text())
        # An attacker may also do nothing.
        inside = [CLEAN, *(name for name, attack in self.attacks.items() if self._is_inside(attack))]
        chosen, contributions = worst_case(truth, {name: found[name] for name in inside})
        combined = None if self.axis else evaluate_protocols(truth, put_together(found, chosen))
        curve, alarms = self._doubts(metrics, inside)
        answer = Robustness(
            origin=self._origin(),
            suite=self.name,
            epsilon=self.epsilon,
            network=self.network,
            images=len(chosen),
            clean=metrics[CLEAN],
            attacks=[
                SuiteAttack(
                    name=name,
                    attack=threat_model(config),
                    config=config,
                    metrics=metrics[name],
                    worst_for=list(chosen.values()).count(name),
                    seconds=seconds[name],
                )
                for name, config in self.configs.items()
            ],
            combined=combined,
            robust_map=None if combined is None else _lowest([combined, *(metrics[name] for name in inside)]),
            curve=curve,
            alarms=alarms,
        )
        if not is_helper():
            write_atomically(folder / IMAGES, _images_table(contributions, chosen))
            write_atomically(folder / FILE, json.dumps(answer, indent=2, allow_nan=False) + "\n")
        return answer

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds another result, as when a suite is to go on with other settings."""
        if not (folder / FILE).is_file():
            return
        try:
            earlier = read_robustness(folder / FILE)
        except RecordError as error:
            raise InputError(str(error)) from error
        same = ("run", "attack_seed", "dataset", "transfer")
        asked: dict[str, Any] = {"network": self.network, "suite": self.name, "suite.epsilon": self.epsilon}
        found = {"network": earlier["network"], "suite": earlier["suite"], "suite.epsilon": earlier["epsilon"]}
        origin = dict(self._origin())
        asked |= {key: origin[key] for key in same}
        before: dict[str, Any] = dict(earlier["origin"])
        found |= {key: before[key] for key in same}
        for name, config in self.configs.items():
            asked[f"suite.attacks.{name}"] = json.dumps(config, sort_keys=True)
        for entry in earlier["attacks"]:
            found[f"suite.attacks.{entry['name']}"] = json.dumps(entry["config"], sort_keys=True)
        for key in asked | found:
            if asked.get(key) != found.get(key):
                raise InputError(
                    f"{folder}: expected an empty folder, or one of this suite, got one with {key}={found.get(key)} "
                    f"instead of {asked.get(key)}; give another hydra.run.dir"
                )

    def _check(self) -> None:
        if self.axis not in AXES:
            raise InputError(f"suite.axis: expected one of {', '.join(map(str, AXES))}, got {self.axis!r}")
        if self.axis == SEVERITY:
            if self.epsilon is not None:
                raise InputError(f"suite.epsilon: expected null, as corruptions have no ball, got {self.epsilon!r}")
        elif not isinstance(self.epsilon, int | float) or not 0 < self.epsilon <= 1:
            raise InputError(f"suite.epsilon: expected a distance in (0, 1], as 0.0314 for 8/255, got {self.epsilon!r}")
        if CLEAN in self.configs:
            raise InputError(f"suite.attacks.{CLEAN}: expected another name, as this one means no attack")
        if self.source is None:
            self.configs.pop(TRANSFER, None)
        elif TRANSFER not in self.configs:
            raise InputError(f"transfer: expected a suite with the attack {TRANSFER}, got suite={self.name}")
        elif self.source.run.class_names != self.run.class_names:
            raise InputError(
                f"transfer: expected a network for the classes {', '.join(self.run.class_names)}, got one for "
                f"{', '.join(self.source.run.class_names)}"
            )

    def _is_inside(self, attack: Attack) -> bool:
        return self.epsilon is not None and attack.epsilon <= self.epsilon and attack.norm == "linf"

    def _one(self, name: str) -> tuple[Any, Path]:
        if name != TRANSFER or self.source is None:
            return self.run.score(self.network, attack=self.configs[name])
        source = self.source
        made = to_dense(source.run.network(source.network)).eval()
        return self.run.score(self.network, attack=self.configs[name], source=made, source_key=source.key)

    def _doubts(self, metrics: Mapping[str, Protocols], inside: Sequence[str]) -> tuple[list[float], list[Alarm]]:
        """The mean loss along a walk, and the alarms."""
        if self.epsilon is None:
            return [], []
        maps = {name: protocols["coco"]["map"] or 0.0 for name, protocols in metrics.items()}
        guided = {name for name in inside if name not in (CLEAN, TRANSFER) and self.attacks[name].cost.gradients}
        seen = self.diagnose(self.epsilon)
        alarms = find_alarms(maps[CLEAN], maps, guided=guided, zero_gradients=seen.zero_gradients, rising=seen.rising)
        if self.axis:
            alarms = [*alarms[:2], rise_alarm(maps[CLEAN], [maps[name] for name in self.configs])]
        return seen.curve, alarms

    def _origin(self) -> Origin:
        source = self.source
        return Origin(
            run=str(self.run.folder.resolve()),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=current_commit(),
            versions=collect_versions(),
            attack_seed=self.run.config["evaluation"]["attack_seed"],
            dataset=self.run.data.fingerprints["test"],
            transfer=None if source is None else f"{source.run.folder.resolve()}, {source.network}",
        )

    @contextmanager
    def _looking(self, images: int) -> Iterator[tuple[Batch, Losses]]:
        """The first test images and the losses of the network on them, on the device and in the precision of scores."""
        data = self.run.data
        trainer = build.bare_trainer(self.run.config)
        device = trainer.strategy.root_device
        samples = data.dataset("test")
        batch = collate([samples[SampleKey(0, index)] for index in range(min(images, len(samples)))])
        batch = data.transfer_batch_to_device(batch, device, 0)
        net = to_dense(self.run.network(self.network)).to(device)
        with undisturbed(net), trainer.precision_plugin.forward_context():
            yield batch, losses_of(net, batch["targets"])


class Source:
    """The network that transferred images are made on.

    Args:
        settings: as in `conf/evaluate.yaml`, with a run under `transfer`.
    """

    def __init__(self, settings: Config) -> None:
        self.run = FinishedRun(settings["transfer"], trusted=settings["trust"])
        self.network: str = settings["transfer_network"]
        network = self.network
        self.key = fingerprint({"network": network, "stage": self.run.stage(network).key, **self.run.variant(network)})


def _lowest(protocols: Sequence[Protocols]) -> float | None:
    """The lowest AP; None where there is none, for want of objects."""
    return min((found["coco"]["map"] for found in protocols if found["coco"]["map"] is not None), default=None)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the second of two runs."""
    times = []
    for _ in range(2):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times[1]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _images_table(contributions: Mapping[str, Mapping[int, float]], chosen: Mapping[int, str]) -> str:
    """CSV: an image a line, what it adds to AP under every attack, and the attack that was chosen for it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", *contributions, "worst"])
    for image in sorted(chosen):
        writer.writerow([image, *(found[image] for found in contributions.values()), chosen[image]])
    return text.getvalue()
