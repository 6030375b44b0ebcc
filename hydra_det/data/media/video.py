"""Videos, frame by frame, through PyAV (FFmpeg): an extra of the package, imported when one is read or written."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hydra_det.types import InputError, Pixels

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
CODECS = ("libx264", "mpeg4")  # the first one that FFmpeg was built with
# What a file may really be, whatever its suffix says: FFmpeg would take a playlist, too, and open what it names.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo"
# Seconds of a tick of the clock of a written video: frames of 24, 25, 30, 50, 60 and 30000/1001 a second are whole
# numbers of it apart, and MPEG-4 takes no finer one than 1/65535.
TICK = Fraction(1, 60_000)
BIT_RATE = 4_000_000  # bits a second


class Video:
    """The frames of a video file.

    Attributes:
        rate: frames a second.
        count: how many frames the file says that it has; 0 where it does not say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as container:
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate or 25)
            self.count = int(stream.frames)

    def __iter__(self) -> Iterator[Pixels]:
        """[H, W, 3] uint8 RGB, in the order in which they are shown, turned as the camera was held."""
        return (pixels for pixels, _ in self.timed())

    def timed(self) -> Iterator[tuple[Pixels, Fraction]]:
        """The same, each with the seconds since the first one; a telephone's frames are not evenly apart."""
        number, first = 0, None
        with self._open() as container:
            try:
                for frame in container.decode(video=0):
                    shown = number / self.rate if frame.pts is None else frame.pts * Fraction(frame.time_base)
                    first = shown if first is None else first
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                    yield np.ascontiguousarray(pixels), shown - first
                    number += 1
            except _av().FFmpegError as error:
                raise self._broken(f"frame {number + 1} cannot be decoded ({error.strerror})") from error

    def _open(self) -> Any:
        av = _av()
        try:
            # The path is absolute: "a:b.mp4" alone is a protocol.
            container = av.open(str(self.path.absolute()), options={"format_whitelist": DEMUXERS})
        except av.FFmpegError as error:
            raise self._broken(f"cannot be opened ({error.strerror})") from error
        if not container.streams.video:
            container.close()
            raise self._broken("it holds no pictures")
        return container

    def _broken(self, reason: str) -> InputError:
        size = self.path.stat().st_size if self.path.is_file() else 0
        return InputError(f"{self.path}: expected a video, {reason}; the file has {size} bytes, is it complete?")


class VideoWriter:
    """Writes a video; a context manager. The file is there when all of it is written, and not before.

    Args:
        path: of the file, `.mp4`.
        rate: frames a second.
    """

    def __init__(self, path: Path, *, rate: Fraction) -> None:
        self.path = path
        self.rate = rate
        self._last: int | None = None  # when the last frame is shown, in ticks
        self._partial = path.with_name(f".{path.name}.partial.mp4")
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        self._container = _av().open(str(self._partial.absolute()), mode="w")
        return self

    def write(self, pixels: Pixels, time: Fraction | None = None) -> None:
        """Add a frame [H, W, 3] uint8 RGB; all frames have the size of the first.

        Args:
            pixels: of the frame.
            time: when it is shown, in seconds; None: `rate` says it.
        """
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]  # the codecs halve the colour
        if self._stream is None:
            self._start(even)
        frame = _av().VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = self._place(time), TICK
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._stream is not None and kind is None:
                self._container.mux(self._stream.encode())
                self._container.close()
                self._partial.replace(self.path)
        finally:
            self._container.close()
            self._partial.unlink(missing_ok=True)

    def _place(self, time: Fraction | None) -> int:
        """When a frame is shown, in ticks: after the last one."""
        after = 0 if self._last is None else self._last + (1 if time is not None else round(1 / self.rate / TICK))
        self._last = after if time is None else max(after, round(time / TICK))
        return self._last

    def _start(self, pixels: Pixels) -> None:
        codec = next(name for name in CODECS if name in _av().codecs_available)
        self._stream = self._container.add_stream(codec, rate=self.rate)
        self._stream.codec_context.time_base = TICK
        self._stream.height, self._stream.width = pixels.shape[:2]
        self._stream.pix_fmt = "yuv420p"
        self._stream.bit_rate = BIT_RATE


def _av() -> Any:
    try:
        import av  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputError("expected the package av for videos, it is not installed; pip install av") from error
    return av
