"""Boxes in pictures: an image, a folder of images or a video, clean and under attack.

python detect.py run=outputs/runs/... source=photos/
python detect.py run=outputs/runs/... source=street.mp4 attack=pgd network=dense
python detect.py model=yolov3 model.weights=yolov3.weights names=coco.names source=dog.jpg
"""

from hydra_det.process import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # the imports below take seconds

import logging
import time
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hydra_det.data.media.frames import Frames
from hydra_det.finished.pictures import Pictures
from hydra_det.finished.predict import open_predictor
from hydra_det.pipeline.build import choices, plain
from hydra_det.process.progress_bar import track
from hydra_det.process.script import job
from hydra_det.process.typed.command import command
from hydra_det.types import InputError

log = logging.getLogger(__name__)


@command("detect")  # @hydra.main; shells complete what says so
@job
def main(config: DictConfig) -> None:
    """Pictures with boxes, and a table of the boxes."""
    settings = plain(config)
    frames = Frames(Path(str(settings["source"])))
    predict = open_predictor(settings)
    folder = Path(HydraConfig.get().runtime.output_dir)
    unreadable: list[InputError] = []
    seconds, start = [], time.perf_counter()
    with Pictures(folder, frames, attack=choices()["attack"], size=predict.image_size) as pictures:
        for frame in track(frames, total=frames.count, text="detecting"):
            if isinstance(frame.pixels, InputError):
                unreadable.append(frame.pixels)
                log.error("%s", frame.pixels)
                continue
            found = predict(frame.pixels)
            pictures.add(frame.name, found, frame.time)
            seconds.append(found.seconds)
    rate = len(seconds) / max(sum(seconds), 1e-9), len(seconds) / (time.perf_counter() - start)
    boxes = f"{len(pictures.rows)} boxes" if pictures.rows else f"nothing above confidence={predict.confidence:g}"
    log.info("%s in %d picture%s: %s", boxes, len(seconds), "" if len(seconds) == 1 else "s", folder)
    log.info("%.1f pictures a second in the network, %.1f with reading, attack and drawing", *rate)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(unreadable) + len(seconds)} pictures could not be read; see above")


if __name__ == "__main__":
    main()
