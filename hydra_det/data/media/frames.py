"""What a trained detector is shown: an image, a folder of images or a video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from hydra_det.data import images
from hydra_det.data.images import find_images, load_rgb
from hydra_det.data.media import video
from hydra_det.data.media.video import Video
from hydra_det.types import InputError, Pixels


class Frame(NamedTuple):
    """One picture of a source."""

    name: str  # of the file, relative to its folder; the number of a video's frame, from 1
    pixels: Pixels | InputError  # [H, W, 3] uint8 RGB, or why it cannot be read
    time: Fraction | None = None  # seconds since the first frame of a video


class Frames:
    """All frames of a source, in order. An unreadable file is a frame with its error; the others follow.

    Args:
        path: of an image, a folder of images or a video.

    Attributes:
        rate: frames a second of a video, None of images.
        count: how many frames there are; 0 where a video does not say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rate: Fraction | None = None
        if path.is_dir():
            self._open_images(find_images(path), folder=path)
        elif not path.exists():
            raise InputError(f"source: expected an image, a folder of images or a video, there is no {path}")
        elif path.suffix.lower() in images.SUFFIXES:
            self._open_images([path], folder=path.parent)
        elif path.suffix.lower() in video.SUFFIXES:
            self._video = Video(path)
            self.count, self.rate = self._video.count, self._video.rate
        else:
            known = ", ".join((*images.SUFFIXES, *video.SUFFIXES))
            raise InputError(f"source: expected a folder or a file of type {known}, got {path}")

    def __iter__(self) -> Iterator[Frame]:
        if self.rate is not None:
            yield from self._of_video()
            return
        for file in self._files:
            name = file.relative_to(self._folder).as_posix()
            try:
                yield Frame(name, load_rgb(file))
            except InputError as error:
                yield Frame(name, error)

    def _open_images(self, files: list[Path], *, folder: Path) -> None:
        self._files, self._folder, self.count = files, folder, len(files)

    def _of_video(self) -> Iterator[Frame]:
        number = 0
        try:
            for number, (pixels, time) in enumerate(self._video.timed(), start=1):
                yield Frame(f"{number:06d}", pixels, time)
        except InputError as error:
            yield Frame(f"{number + 1:06d}", error)
