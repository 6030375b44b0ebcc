"""What `detect.py` leaves: pictures or a video with boxes, and a table of them as CSV and JSON."""

import io
import json
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from hydra_det.data.media.drawing import caption, side_by_side
from hydra_det.data.media.frames import Frames
from hydra_det.data.media.video import VideoWriter
from hydra_det.files.atomic import write_atomically
from hydra_det.finished.predict import Prediction, View

COLUMNS = ("image", "view", "x_min", "y_min", "x_max", "y_max", "confidence", "class", "label")
TIME = "time"  # one more of a video: seconds since its first frame
CLEAN, ATTACKED = "clean", "attacked"
JPEG_QUALITY = 92


class Pictures:
    """Writes what was found; a context manager, whose tables are there when all is.

    Args:
        folder: for all files; pictures keep their names and get the suffix .jpg.
        source: of the frames; a video becomes one video.
        attack: how the attack is called in the pictures.
        size: side of the network's input in pixels, at which pictures are attacked; None: not said.
    """

    def __init__(self, folder: Path, source: Frames, *, attack: str, size: int | None = None) -> None:
        self.folder = folder
        self.attack = attack if size is None else f"{attack} at {size} px"
        self.columns = COLUMNS if source.rate is None else (*COLUMNS, TIME)
        self.rows: list[dict[str, Any]] = []
        self._taken: set[Path] = set()
        self._video: VideoWriter | None = None
        if source.rate is not None:
            self._video = VideoWriter(folder / f"{source.path.stem}.mp4", rate=source.rate)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._video is not None:
            self._video.__enter__()
        return self

    def add(self, name: str, found: Prediction, time: Fraction | None = None) -> None:
        """Draw a picture and note its boxes; of a video's frame, also when it is shown, in seconds."""
        self._note(name, CLEAN, found.clean, time)
        picture = found.clean.drawn()
        if found.attacked is not None:
            self._note(name, ATTACKED, found.attacked, time)
            both = (picture, CLEAN), (found.attacked.drawn(), f"attacked: {self.attack}")
            picture = side_by_side([caption(image, text) for image, text in both])
        if self._video is not None:
            self._video.write(np.asarray(picture), time)
        else:
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=JPEG_QUALITY)
            write_atomically(self._path(name), encoded.getvalue())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.__exit__(kind, error, trace)
        if kind is None:
            write_atomically(
                self.folder / "detections.csv", pd.DataFrame(self.rows, columns=list(self.columns)).to_csv(index=False)
            )
            write_atomically(self.folder / "detections.json", json.dumps(self.rows, indent=1) + "\n")

    def _path(self, name: str) -> Path:
        """`a.jpg` for a.png; `a.tif.jpg` for a.tif, if there was an a.png before."""
        path = (self.folder / name).with_suffix(".jpg")
        if path in self._taken:
            path = self.folder / f"{name}.jpg"
        self._taken.add(path)
        return path

    def _note(self, name: str, view: str, seen: View, time: Fraction | None) -> None:
        shown = {TIME: None if time is None else round(float(time), 6)} if TIME in self.columns else {}
        for found, label in zip(seen.objects, seen.detections.labels.tolist(), strict=True):
            values = (name, view, *found.box, found.confidence, found.name, label)
            self.rows.append(dict(zip(COLUMNS, values, strict=True)) | shown)
