"""Layouts with COCO's annotation files: COCO itself, Roboflow, CVAT and Label Studio."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hydra_det.data.formats.places import folders, other_format
from hydra_det.data.layouts.words import TEST, TRAIN, WORDS, is_enough, spelled, with_test
from hydra_det.types import InputError

ROBOFLOW = "_annotations.coco.json"
# One file for all images.
SINGLE = ("annotations/instances_default.json", "annotations/instances_Default.json", "result.json", ROBOFLOW)
YEARS = ("2017", "2014", "")
NAMED = 6


class CocoFiles(NamedTuple):
    """An annotation file, and where its images may lie: the first of the folders that holds them."""

    annotations: str
    images: list[str]


def coco_layout(root: Path, *, testing: bool = False) -> dict[str, CocoFiles]:
    """The splits that a folder holds in one of the layouts; for `testing` it needs no training images.

    Raises:
        InputError: it holds none of them.
    """
    for layout in (_annotation_folder, _folder_a_split):
        found: dict[str, CocoFiles] = {}
        for split, files in layout():
            if split not in found and (root / files.annotations).is_file():
                found[split] = files
        if is_enough(found, testing=testing):
            return with_test(found)
    for file in SINGLE:
        if (root / file).is_file():
            return {TRAIN: CocoFiles(file, ["images/default", "images", "."])}
    there = [path.relative_to(root).as_posix() for folder in folders(root) for path in sorted(folder.glob("*.json"))]
    listed = f"there are {', '.join(there[:NAMED])}" if there else "no .json file is there"
    split = TEST if testing else TRAIN
    raise InputError(
        f"data.{split}_annotations: expected COCO files below {root} where COCO, Roboflow, CVAT or Label Studio put "
        f"them ({next(_annotation_folder())[1].annotations}, {WORDS[TRAIN][0]}/{ROBOFLOW}, {SINGLE[0]}, {SINGLE[2]}), "
        f"found none; {listed}; name data.{split}_annotations and data.{split}_images_dir{other_format(root, 'coco')}"
    )


def _annotation_folder() -> Iterator[tuple[str, CocoFiles]]:
    """COCO, CVAT and Datumaro: all files in one folder, named by split."""
    for year in YEARS:
        for split, word in spelled():
            name = f"{word}{year}"
            images = [f"images/{name}", name, f"images/{word}", word, "images", "."]
            yield split, CocoFiles(f"annotations/instances_{name}.json", images)
    for split, word in spelled():
        yield split, CocoFiles(f"annotations/{word}.json", [f"images/{word}", word, "images", "."])


def _folder_a_split() -> Iterator[tuple[str, CocoFiles]]:
    """Roboflow: the file lies among its images."""
    for split, word in spelled():
        yield split, CocoFiles(f"{word}/{ROBOFLOW}", [word])
