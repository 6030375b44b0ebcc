"""Layouts with Pascal VOC's xml files: VOC itself, CVAT, Roboflow, Label Studio and labelImg."""

from pathlib import Path
from typing import NamedTuple

from hydra_det.data.formats.lists import names_inside
from hydra_det.data.formats.places import files_with, folder_inside, folders_with, other_format
from hydra_det.data.formats.voc import XmlFile
from hydra_det.data.images import image_files, is_foreign
from hydra_det.data.layouts.words import TEST, TRAIN, VAL, is_enough, spelled, with_test
from hydra_det.types import InputError

LISTS = "ImageSets/Main"
ANNOTATIONS = ("Annotations", "annotations")
IMAGES = ("JPEGImages", "images", "Images")
XML = ".xml"


class VocFolders(NamedTuple):
    """The xml files and images of a split, or of all; and the list of those that it takes, None: all.

    Folders are relative to the root.
    """

    annotations: str
    images: str
    images_list: str | None = None


def voc_layout(root: Path, *, testing: bool = False) -> dict[str, VocFolders]:
    """The splits that a folder holds in one of the layouts; for `testing` it needs no training images.

    Raises:
        InputError: it holds none of them.
    """
    lists = {split: f"{LISTS}/{word}.txt" for split, word in reversed(list(spelled())) if _is(root, word)}
    for everything in ("trainval", "default", "Default"):
        if TRAIN not in lists and _is(root, everything):
            lists[TRAIN] = f"{LISTS}/{everything}.txt"
    if is_enough(lists, testing=testing):
        # Of VOC's own two further lists the first was published with its objects, and is what people test on.
        lists = lists_of_train(lists) | ({TEST: lists[VAL]} if VAL in lists else {}) | lists_of_test(lists)
        return {split: VocFolders(annotations_folder(root), images_folder(root), file) for split, file in lists.items()}
    parts = {
        split: VocFolders(word, word) for split, word in spelled() if (root / word).is_dir() and _has_xml(root / word)
    }
    if is_enough(parts, testing=testing):
        return with_test(parts)
    for annotations in (*ANNOTATIONS, *IMAGES, "."):
        if _beside(root) if annotations == "." else _has_xml(root / annotations):
            return {TRAIN: VocFolders(annotations, images_folder(root, beside=annotations))}
    there = folders_with(root, (XML,))
    listed = f"there are some in {', '.join(there[:6])}" if there else f"no {XML} file is there"
    raise InputError(
        f"data.annotations_dir: expected {XML} files below {root} where VOC, CVAT, Roboflow, Label Studio or labelImg "
        f"put them ({ANNOTATIONS[0]}, train, beside the images), found none; {listed}; name data.annotations_dir and "
        f"data.images_dir{other_format(root, 'voc')}"
    )


def xml_files(root: Path, part: VocFolders, *, split: str) -> list[XmlFile]:
    """The annotation files of a split."""
    folder = folder_inside(
        root, part.annotations, key="data.annotations_dir", what="a folder of annotations", suffixes=(XML,)
    )
    images = folder_inside(root, part.images, key="data.images_dir", what="a folder of images")
    if part.images_list is None:
        return [XmlFile(path, path.relative_to(folder).with_suffix("").as_posix()) for path in files_with(folder, XML)]
    names = names_inside(root, part.images_list, split=split, folders=(images, folder), suffix=XML)
    return [XmlFile(folder / f"{name}{XML}", name) for name in names]


def lists_of_train(lists: dict[str, str]) -> dict[str, str]:
    """The list of training images, if there is one."""
    return {TRAIN: lists[TRAIN]} if TRAIN in lists else {}


def lists_of_test(lists: dict[str, str]) -> dict[str, str]:
    """The list of test images, where there is none of validation images."""
    return {TEST: lists[TEST]} if TEST in lists and VAL not in lists else {}


def annotations_folder(root: Path) -> str:
    """The folder of the xml files."""
    return next((name for name in ANNOTATIONS if (root / name).is_dir()), ANNOTATIONS[0])


def images_folder(root: Path, *, beside: str = ".") -> str:
    """The folder of the images: one of the usual names, or that of the xml files."""
    for name in IMAGES:
        if (root / name).is_dir() and image_files(root / name):
            return name
    return IMAGES[0] if beside == "." and not image_files(root) else beside


def _is(root: Path, word: str) -> bool:
    return (root / LISTS / f"{word}.txt").is_file()


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and bool(files_with(folder, XML))


def _beside(folder: Path) -> bool:
    return any(not is_foreign(file) for file in folder.glob(f"*{XML}"))
