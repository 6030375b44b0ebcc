"""A network under a suite of attacks: AP under each, under the worst case, and the alarms.

Each attack is a result in the store like any other, so a suite that was interrupted goes on where it was, and attacks
that two suites share run once.
"""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, CLEAN
from hydra_det.evaluation.coco_map import CocoResult, evaluate_protocols
from hydra_det.evaluation.robustness import put_together, worst_case
from hydra_det.finished.scored import Scored
from hydra_det.finished.suite import files, probe
from hydra_det.finished.suite.settings import TRANSFER, read_settings
from hydra_det.modules.masked_conv import make_dense
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.description import threat_model
from hydra_det.process.interrupts import stop_if_asked
from hydra_det.process.script import is_helper
from hydra_det.records.record import Protocols
from hydra_det.records.robustness import Robustness, SuiteAttack, version_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What was found without an attack, under `CLEAN`, and under every attack, by its name."""

    metrics: dict[str, Protocols] = field(default_factory=dict)
    detections: dict[str, list[CocoResult]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of attacks alone


class Suite:
    """A suite of attacks on one network, of a finished run or from a file of weights.

    Making one checks every attack before any of them runs.

    Args:
        run: whose network it is.
        settings: as in `conf/evaluate.yaml`.
    """

    def __init__(self, run: Scored, settings: Config) -> None:
        self.run = run
        self.asked = read_settings(settings, class_names=run.class_names)
        run.data.prepare()
        run.data.evaluation_passes = 2

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds another result, as when a suite is to go on with other settings."""
        files.check_folder(folder, self.run, self.asked)

    def estimate(self) -> dict[str, float]:
        """Seconds of every attack on all test images, from two passes over one batch of this network."""
        return probe.estimate_seconds(self.run, self.asked)

    def score(self, folder: Path) -> Robustness:
        """Run what has not been run, search for the worst case, write it into a folder."""
        run, asked, truth = self.run, self.asked, self.run.data.ground_truth("test")
        found = self._attack()
        chosen, contributions = worst_case(truth, {name: found.detections[name] for name in asked.inside})
        combined = None if asked.axis else evaluate_protocols(truth, put_together(found.detections, chosen))
        seen = None
        if asked.epsilon is not None:
            seen = probe.diagnose_network(run, asked.network, epsilon=asked.epsilon, padding=asked.padding)
        answer = Robustness(
            origin=files.origin(run, asked),
            suite=asked.name,
            version=version_of(asked.name),
            epsilon=asked.epsilon,
            padding=asked.padding,
            engine=self.run.engine,
            network=asked.network,
            images=len(chosen),
            clean=found.metrics[CLEAN],
            attacks=self._attacks(found, chosen),
            combined=combined,
            robust_map=None if combined is None else _robust(combined, found, asked.inside),
            curve=[] if seen is None else seen.curve,
            alarms=[] if seen is None else probe.doubts(asked, found.metrics, seen, combined=combined),
        )
        if not is_helper():
            files.write_result(folder, answer, contributions=contributions, chosen=chosen)
        return answer

    def _attack(self) -> Found:
        """Run every attack, or find it in the store."""
        found, names = Found(), self.asked.configs
        for number, name in enumerate(names, 1):
            stop_if_asked()
            log.info("attack %d of %d: %s", number, len(names), name)
            start = time.perf_counter()
            both, place = self._one(name)
            found.seconds[name] = round(time.perf_counter() - start, 2)
            for pass_name, condition in ((CLEAN, CLEAN), (name, ATTACKED)):
                found.metrics[pass_name] = both[condition]
                found.detections[pass_name] = json.loads((place / f"detections_{condition}.json").read_text())
        return found

    def _one(self, name: str) -> tuple[Any, Path]:
        run, config, source = self.run, self.asked.configs[name], self.asked.source
        if name != TRANSFER or source is None:
            return run.score(self.asked.network, attack=config)
        made = make_dense(source.run.network(source.network)).eval()
        return run.score(self.asked.network, attack=config, source=made, source_key=source.key)

    def _attacks(self, found: Found, chosen: Mapping[int, str]) -> list[SuiteAttack]:
        return [
            SuiteAttack(
                name=name,
                attack=threat_model(config),
                config=config,
                metrics=found.metrics[name],
                worst_for=list(chosen.values()).count(name),
                seconds=found.seconds[name],
            )
            for name, config in self.asked.configs.items()
        ]


def _robust(combined: Protocols, found: Found, inside: Iterable[str]) -> float | None:
    """AP that no attack inside of the ball went below, alone or together with the others."""
    return lowest_map([combined, *(found.metrics[name] for name in inside)])


def lowest_map(protocols: Sequence[Protocols]) -> float | None:
    """The lowest AP; None where there is none, for want of objects."""
    return min((found["coco"]["map"] for found in protocols if found["coco"]["map"] is not None), default=None)
