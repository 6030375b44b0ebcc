"""Attack a network of a finished run, or of a file, with another attack than it was trained with, or with a suite.

python evaluate.py run=outputs/runs/... attack=pgd attack.steps=20
python evaluate.py run=outputs/runs/... suite=standard suite.epsilon=0.0157 network=dense
python evaluate.py model=yolov3_tiny model.weights=yolov3-tiny.weights data=coco data.root=path/to/coco
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.finished.opening import open_scored
from hydra_det.finished.scored import write_scores
from hydra_det.finished.suite.suite import Suite
from hydra_det.pipeline.build import overrides, plain
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.reports.tables.robustness import cost_table, draw_robustness, suite_table
from hydra_det.reports.tables.terminal import attack_table, show
from hydra_det.types import InputError

log = logging.getLogger(__name__)


@command("evaluate")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> None:
    """AP of a trained network, clean and under the given attack or suite of attacks."""
    settings = plain(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    scored, network = open_scored(settings, typed=overrides())
    title = f"{network} network of {scored}" if settings["run"] else str(scored)
    if settings["suite"]["attacks"]:
        if asked := [word for word in overrides() if word.startswith("attack")]:
            raise InputError(f"attack: expected nothing beside suite=, got {asked[0]}; set suite.epsilon instead")
        suite = Suite(scored, {**settings, "network": network})
        suite.check_folder(folder)
        show(cost_table(suite.estimate()))
        found = suite.score(folder)
        draw_robustness(found, folder / "robustness.png", axis=settings["suite"]["axis"])
        show(suite_table(found, title=title))
        log.info("scores, images and figure: %s", folder)
        return
    if settings["transfer"]:
        raise InputError("transfer: expected a suite beside it, got none; give suite=standard")
    scores, detections = scored.score(network)
    file = write_scores(folder, scored, network, scores, detections)
    show(attack_table(scores, scored.attack, title=title))
    log.info("scores: %s; detections: %s", file, detections)


if __name__ == "__main__":
    main()
