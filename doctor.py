"""Look at a data set before anything is trained on it: counts, classes, sizes, problems, and a sheet of pictures.

python doctor.py data=coco data.root=...
python doctor.py data=yolo data.root=... sheet=48
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
from dataclasses import asdict
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.data.doctor import contact_sheet, examine
from hydra_det.data.formats.splits import shared_images
from hydra_det.pipeline import build
from hydra_det.pipeline.build import CONFIG_DIR, plain
from hydra_det.process.script import job
from hydra_det.reports.tables.terminal import data_tables, show

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="doctor")
@job
def main(config: DictConfig) -> None:
    """What a data set holds, and what is wrong with it."""
    settings = plain(config)
    # Shared images are what is looked for here: they are named, not refused.
    data = build.data({"data": {**settings["data"], "allow_overlap": True, "strict": False}})
    findings = {name: asdict(examine(split)) for name, split in data.splits.items()}
    shared = [f"{first} ({a}) and {second} ({b})" for a, first, b, second in shared_images(data.splits)]
    show(data_tables(settings["data"]["name"], findings, shared))
    folder = Path(HydraConfig.get().runtime.output_dir)
    for name, split in data.splits.items():
        chosen = split.records[:: max(1, len(split.records) // settings["sheet"])][: settings["sheet"]]
        if chosen:
            contact_sheet(chosen, data.class_names).save(folder / f"{name}.png")
    log.info("sheets of pictures: %s", folder)


if __name__ == "__main__":
    main()
