"""Images, folders and videos as frames; the videos against OpenCV, which reads them on its own."""

import io
import struct
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hydra_det.data.media.frames import Frame, Frames
from hydra_det.data.media.video import Video, VideoWriter
from hydra_det.types import InputError, Pixels

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 120, 120))


def plain(colour: tuple[int, int, int], *, width: int = 64, height: int = 48) -> Pixels:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def pixels_of(frame: Frame) -> Pixels:
    assert isinstance(frame.pixels, np.ndarray)
    return frame.pixels


@pytest.fixture
def video(tmp_path: Path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", rate=Fraction(10)) as writer:
        for colour in COLOURS:
            writer.write(plain(colour))
    return tmp_path / "clip.mp4"


def test_a_folder_is_read_in_order_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, colour in (("b/0.png", (1, 2, 3)), ("a.png", (4, 5, 6)), ("c.bmp", (7, 8, 9))):
        Image.fromarray(plain(colour)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    frames = Frames(tmp_path)
    assert frames.count == 3
    assert frames.rate is None
    assert [(frame.name, pixels_of(frame)[0, 0].tolist()) for frame in frames] == [
        ("a.png", [4, 5, 6]),
        ("b/0.png", [1, 2, 3]),
        ("c.bmp", [7, 8, 9]),
    ]


def test_an_unreadable_image_is_named_and_the_others_follow(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "JPEG")
    for name in ("0", "2"):
        (tmp_path / f"{name}.jpg").write_bytes(whole.getvalue())
    (tmp_path / "1.jpg").write_bytes(whole.getvalue()[:1500])
    first, second, third = Frames(tmp_path)
    assert pixels_of(first).shape == pixels_of(third).shape == (48, 64, 3)
    assert isinstance(second.pixels, InputError)
    assert "1.jpg" in str(second.pixels)
    assert "truncated" in str(second.pixels)


def test_a_video_holds_what_was_written(video: Path) -> None:
    frames = Frames(video)
    assert (frames.count, frames.rate) == (4, 10)
    for number, (frame, colour) in enumerate(zip(frames, COLOURS, strict=True), start=1):
        assert frame.name == f"{number:06d}"
        assert np.abs(pixels_of(frame).astype(int) - colour).mean() < 12, "lossy, but the same colour"


def test_another_program_reads_the_same_video(video: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    for mine in Video(video):
        read, theirs = capture.read()
        assert read
        assert np.abs(mine.astype(int) - theirs[..., ::-1]).mean() < 4, "two conversions from YUV"
    assert not capture.read()[0]


IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
TURNED = {  # as phones write them: shown turned clockwise by this much
    90: struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30),
    180: struct.pack(">9i", -(1 << 16), 0, 0, 0, -(1 << 16), 0, 0, 0, 1 << 30),
    270: struct.pack(">9i", 0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30),
}


@pytest.mark.parametrize("angle", TURNED)
def test_a_video_is_shown_as_the_camera_was_held(tmp_path: Path, angle: int) -> None:
    picture = plain((0, 0, 0))
    picture[:24, :32] = 255  # the top left quarter is white
    with VideoWriter(tmp_path / "phone.mp4", rate=Fraction(25)) as writer:
        writer.write(picture)
    content = (tmp_path / "phone.mp4").read_bytes()
    track = content.index(b"tkhd")
    place = content.index(IDENTITY, track)
    (tmp_path / "phone.mp4").write_bytes(content[:place] + TURNED[angle] + content[place + len(IDENTITY) :])
    (mine,) = Video(tmp_path / "phone.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "phone.mp4"))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    read, theirs = capture.read()
    assert read
    height, width = mine.shape[:2]
    corner = {90: (5, width - 5), 180: (height - 5, width - 5), 270: (height - 5, 5)}[angle]
    assert mine[corner].min() > 200, "the white quarter turned clockwise"
    assert mine[::-1, ::-1][corner].max() < 50
    assert mine.shape == theirs.shape == ((64, 48, 3) if angle != 180 else (48, 64, 3))
    assert np.abs(mine.astype(int) - theirs[..., ::-1]).mean() < 4


def test_a_name_with_a_colon_is_no_protocol(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video.rename(video.with_name("clip12:30.mp4"))
    monkeypatch.chdir(video.parent)
    assert len(list(Video(Path("clip12:30.mp4")))) == 4


def test_odd_sizes_lose_a_row_and_a_column(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4", rate=Fraction(25)) as writer:
        writer.write(plain(COLOURS[0], width=65, height=47))
    (frame,) = Video(tmp_path / "odd.mp4")
    assert frame.shape == (46, 64, 3)


def test_a_broken_off_video_leaves_nothing(tmp_path: Path) -> None:
    def stop_after_a_frame() -> None:
        with VideoWriter(tmp_path / "clip.mp4", rate=Fraction(25)) as writer:
            writer.write(plain(COLOURS[0]))
            raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        stop_after_a_frame()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 40, 900])
def test_a_truncated_video_is_one_clear_line(video: Path, kept: int) -> None:
    content = video.read_bytes()
    assert len(content) > 900
    video.write_bytes(content[:kept])
    with pytest.raises(
        InputError, match=rf"clip.mp4: expected a video, cannot be opened .* has {kept} bytes"
    ) as raised:
        list(Frames(video))
    assert "\n" not in str(raised.value)


def test_a_video_that_breaks_off_gives_its_first_frames(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "clip.mp4", rate=Fraction(25)) as writer:
        for shift in range(40):
            writer.write(np.roll(noise, shift, axis=1))
    av = pytest.importorskip("av")
    # The same pictures in a container that can be read from its start, with noise in its middle.
    source, target = av.open(str(tmp_path / "clip.mp4")), av.open(str(tmp_path / "clip.mkv"), mode="w")
    stream = target.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
        if packet.dts is not None:
            packet.stream = stream
            target.mux(packet)
    target.close()
    content = bytearray((tmp_path / "clip.mkv").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "clip.mkv").write_bytes(content)
    frames = list(Frames(tmp_path / "clip.mkv"))
    readable = [frame for frame in frames if isinstance(frame.pixels, np.ndarray)]
    assert 5 < len(readable) < 40
    assert all(frame in readable for frame in frames[:-1]), "an error is the end"


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.jpg", "there is no"), ("notes.txt", "file of type .jpg"), ("empty", "expected images .* found none")],
)
def test_other_sources_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        Frames(tmp_path / name)


def test_a_sound_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "sound.mp4"), mode="w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="it holds no pictures"):
        Frames(tmp_path / "sound.mp4")


def test_without_the_package_the_message_says_how_to_get_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="pip install av"):
        Frames(video)


def test_frames_keep_the_times_at_which_they_are_shown(tmp_path: Path) -> None:
    times = [float(text) for text in ("0", "0.04", "0.5", "0.51", "2")]
    with VideoWriter(tmp_path / "phone.mp4", rate=Fraction(25)) as writer:
        for colour, time in zip((*COLOURS, COLOURS[0]), times, strict=True):
            writer.write(plain(colour), Fraction(time))
    film = cv2.VideoCapture(str(tmp_path / "phone.mp4"))
    seen = []
    while film.read()[0]:
        seen.append(film.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    assert seen == pytest.approx(times, abs=2e-3)
    read = [frame.time for frame in Frames(tmp_path / "phone.mp4")]
    assert [float(time) for time in read if time is not None] == pytest.approx(times, abs=1e-4)


def test_without_times_frames_are_evenly_apart(video: Path) -> None:
    read = [frame.time for frame in Frames(video)]
    assert [float(time) for time in read if time is not None] == pytest.approx([0, 0.1, 0.2, 0.3])
