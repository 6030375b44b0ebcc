"""Look at a data set before anything is trained on it: counts, classes, sizes, problems, and a sheet of pictures.

python doctor.py data=coco data.root=...
python doctor.py data=yolo data.root=... sheet=48
python doctor.py data=voc data.root=... data.split=0.2 headers=true    # without decoding every picture
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.data.doctor import examine, look_closely, write_findings, write_sheets
from hydra_det.data.formats.splits import shared_images
from hydra_det.pipeline import build
from hydra_det.pipeline.build import plain
from hydra_det.process.progress_bar import track
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.reports.tables.terminal import data_tables, show
from hydra_det.types import InputError

log = logging.getLogger(__name__)


@command("doctor")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> None:
    """What a data set holds, and what is wrong with it."""
    settings = plain(config)
    data = build.data({"data": {**settings["data"], "strict": False}})
    data.keep_going = True  # what is wrong is what is looked for here: it is named, not refused
    headers, memory = settings["headers"], Path(data.decoded) if data.decoded else None
    look = partial(look_closely, headers=headers, memory=memory, watch=partial(track, text="looking at pictures"))
    splits = {name: look(split) for name, split in data.splits.items()}
    findings = {name: asdict(examine(split)) for name, split in splits.items()}
    shared = [f"{first} ({a}) and {second} ({b})" for a, first, b, second in shared_images(splits)]
    show(data_tables(settings["data"]["name"], findings, shared))
    folder = Path(HydraConfig.get().runtime.output_dir)
    write_findings(folder / "findings.txt", splits)
    write_sheets(folder, splits, pictures=settings["sheet"])
    log.info("sheets of pictures, and findings.txt with all that was found: %s", folder)
    if refused := sum(of_split["refused"] for of_split in findings.values()):
        raise InputError(f"{refused} files or lines are refused by training and left out above; correct or remove them")


if __name__ == "__main__":
    main()
