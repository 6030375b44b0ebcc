"""Attack a network of a finished run with another attack than it was trained and scored with.

python evaluate.py run=outputs/runs/... attack=pgd attack.steps=20
python evaluate.py run=outputs/runs/... attack=noise network=dense
"""

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.pipeline.build import CONFIG_DIR, plain
from hydra_det.pipeline.command_line import job
from hydra_det.pipeline.finished import FinishedRun
from hydra_det.reports.tables import attack_table, show

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="evaluate")
@job
def main(config: DictConfig) -> None:
    """AP of a trained network, clean and under the given attack."""
    settings = plain(config)
    run = FinishedRun(settings["run"], attack=settings["attack"])
    scores, detections = run.score(settings["network"])
    file = run.write_scores(Path(HydraConfig.get().runtime.output_dir), settings["network"], scores, detections)
    show(attack_table(scores, run.attack, title=f"{settings['network']} network of {run.folder}"))
    log.info("scores: %s; detections: %s", file, detections)


if __name__ == "__main__":
    main()
