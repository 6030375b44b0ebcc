"""A network under a suite of attacks: AP under each, under the worst of every image, and the alarms.

Each attack is a result in the store like any other, so a suite that was interrupted goes on where it was, and attacks
that two suites share run once.
"""

import csv
import io
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hydra_det.atomic import write_atomically
from hydra_det.attacks.base import Attack, evaluate, gradient_of
from hydra_det.attacks.diagnosis import Diagnosis, diagnose
from hydra_det.callbacks.adversarial_batch import ATTACKED, CLEAN, content_region, losses_of
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.evaluation.alarms import find_alarms
from hydra_det.evaluation.coco_map import CocoResult, evaluate_protocols
from hydra_det.evaluation.robustness import Scores, image_scores, put_together, worst_attacks
from hydra_det.modules.masked_conv import to_dense
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.finished import FinishedRun
from hydra_det.pipeline.runner import threat_model
from hydra_det.record import Protocols, Robustness, SuiteAttack
from hydra_det.types import Batch, InputError

log = logging.getLogger(__name__)

TRANSFER = "transfer"  # the attack of this name is made on another network
DIAGNOSED = 8  # images
FILE, IMAGES = "robustness.json", "images.csv"


class Suite:
    """A suite of attacks on one network of a finished run.

    Making one checks every attack before any of them runs.

    Args:
        run: finished.
        settings: as in `conf/evaluate.yaml`.
    """

    def __init__(self, run: FinishedRun, settings: Config) -> None:
        self.run = run
        self.network: str = settings["network"]
        self.name: str = settings["suite"]["name"]
        self.epsilon: float = settings["suite"]["epsilon"]
        self.axis: str | None = settings["suite"]["axis"]
        self.configs: dict[str, dict[str, Any]] = dict(settings["suite"]["attacks"])
        self.source = FinishedRun(settings["transfer"]) if settings["transfer"] else None
        self.source_network: str = settings["transfer_network"]
        if self.source is None:
            self.configs.pop(TRANSFER, None)
        self.attacks: dict[str, Attack] = {}
        for name, config in self.configs.items():
            made = build.instantiate(config)
            if made is None:
                raise InputError(f"suite.attacks.{name}: expected an attack, got none; leave it out instead")
            self.attacks[name] = made
        run.data.prepare()
        run.data.evaluation_passes = 2

    def estimate(self) -> dict[str, float]:
        """Seconds of every attack on all test images, from two passes over one batch of this network."""
        batch, net = self._batch(self.run.data.evaluation_batch_size)
        losses = losses_of(net, batch["targets"])
        with undisturbed(net):
            gradient = _seconds(lambda: gradient_of(losses["total"], batch["images"]))
            forward = _seconds(lambda: evaluate(losses["total"], batch["images"]))
        batches = len(self.run.data.splits["test"].records) / len(batch["targets"])
        return {
            name: batches * (attack.cost.gradients * gradient + (attack.cost.forwards + 2) * forward)
            for name, attack in self.attacks.items()
        }

    def diagnose(self) -> Diagnosis:
        """What gradients the network has."""
        batch, net = self._batch(DIAGNOSED)
        with undisturbed(net):
            losses = losses_of(net, batch["targets"])
            return diagnose(batch["images"], losses, region=content_region(batch), epsilon=self.epsilon)

    def score(self, folder: Path) -> Robustness:
        """Run what has not been run, put the worst of every image together, write it into a folder."""
        truth = self.run.data.ground_truth("test")
        metrics: dict[str, Protocols] = {}
        found: dict[str, list[CocoResult]] = {}
        seconds: dict[str, float] = {}
        for number, name in enumerate(self.configs, 1):
            log.info("attack %d of %d: %s", number, len(self.configs), name)
            start = time.perf_counter()
            both, place = self._one(name)
            seconds[name] = time.perf_counter() - start
            for pass_name, condition in ((CLEAN, CLEAN), (name, ATTACKED)):
                metrics[pass_name] = both[condition]
                found[pass_name] = json.loads((place / f"detections_{condition}.json").read_text())
        scores = {name: image_scores(truth, results) for name, results in found.items() if self._counts(name)}
        chosen = worst_attacks(scores)
        combined = None if self.axis else evaluate_protocols(truth, put_together(found, chosen))
        maps = {name: protocols["coco"]["map"] or 0.0 for name, protocols in metrics.items()}
        diagnosis = self.diagnose()
        answer = Robustness(
            suite=self.name,
            epsilon=self.epsilon,
            network=self.network,
            images=len(chosen),
            clean=metrics[CLEAN],
            attacks=[
                SuiteAttack(
                    name=name,
                    attack=threat_model(config),
                    metrics=metrics[name],
                    worst_for=list(chosen.values()).count(name),
                    seconds=seconds[name],
                )
                for name, config in self.configs.items()
            ],
            combined=combined,
            robust_map=min(maps[name] for name in scores)
            if combined is None
            else min(combined["coco"]["map"] or 0.0, *(maps[name] for name in scores)),
            curve=diagnosis.curve,
            alarms=find_alarms(maps[CLEAN], maps, zero_gradients=diagnosis.zero_gradients, rising=diagnosis.rising),
        )
        write_atomically(folder / IMAGES, _images_table(scores, chosen))
        write_atomically(folder / FILE, json.dumps(answer, indent=2, allow_nan=False) + "\n")
        return answer

    def _counts(self, name: str) -> bool:
        """Whether the worst case is looked for among the images of an attack: an attacker may also do nothing."""
        config = self.configs.get(name, {"epsilon": 0.0})
        return bool(config["epsilon"] <= self.epsilon and config.get("norm", "linf") == "linf")

    def _one(self, name: str) -> tuple[Any, Path]:
        source, key = None, None
        if name == TRANSFER and self.source is not None:
            source = to_dense(self.source.network(self.source_network)).eval()
            key = self.source.stage(self.source_network).key
        return self.run.score(self.network, attack=self.configs[name], source=source, source_key=key)

    def _batch(self, images: int) -> tuple[Batch, Any]:
        """The first test images and the network, on the device that scores."""
        data = self.run.data
        device = build.trainer(self.run.config, logger=False, enable_checkpointing=False).strategy.root_device
        samples = data.dataset("test")
        batch = collate([samples[SampleKey(0, index)] for index in range(min(images, len(samples)))])
        batch["images"] = batch["images"].to(device)
        for target in batch["targets"]:
            target["boxes"], target["labels"] = target["boxes"].to(device), target["labels"].to(device)
        return batch, to_dense(self.run.network(self.network)).to(device).eval()


def _seconds(work: Any) -> float:
    """Of the second of two runs."""
    work()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _images_table(scores: Mapping[str, Scores], chosen: Mapping[int, str]) -> str:
    """CSV: an image a line, its score under every attack, and the worst one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", *scores, "worst"])
    for image in sorted(chosen):
        writer.writerow([image, *(found[image] for found in scores.values()), chosen[image]])
    return text.getvalue()
