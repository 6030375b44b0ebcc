"""KITTI's layout: a folder of frames, a folder of labels, and lists of frames."""

from pathlib import Path

from hydra_det.data.formats.lists import names_inside
from hydra_det.data.formats.places import Pictures, files_with, folder_inside
from hydra_det.data.formats.text_labels import Pair

LABEL = ".txt"


def kitti_pairs(root: Path, images: str, labels: str, *, file: str | None, split: str) -> tuple[Path, list[Pair]]:
    """The folder of the frames, and the frames of a split, each with the file of its labels.

    Args:
        root: of the data set; all else is relative to it.
        images: folder of the frames.
        labels: folder of the labels.
        file: list of the frames; None: all that have labels.
        split: for messages.
    """
    folder = folder_inside(root, images, key="data.images_dir", what="a folder of images")
    base = folder_inside(root, labels, key="data.annotations_dir", what="a folder of labels", suffixes=(LABEL,))
    if file is None:
        names = [path.relative_to(base).with_suffix("").as_posix() for path in files_with(base, LABEL)]
    else:
        names = names_inside(root, file, split=split, folders=(folder, base), suffix=LABEL)
    pictures = Pictures(root, folder)
    return folder, [(_frame(pictures, name), base / f"{name}{LABEL}") for name in names]


def _frame(pictures: Pictures, name: str) -> Path:
    """A frame of KITTI: a PNG, unless it was converted."""
    usual = pictures.folder / f"{name}.png"
    if usual.is_file():
        return usual
    return next(iter(pictures.of_stem(name, what="a frame")), usual)
