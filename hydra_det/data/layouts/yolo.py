"""Layouts with YOLO's text files: Ultralytics, Roboflow, Darknet, CVAT, Label Studio and labelImg."""

from collections.abc import Iterator
from pathlib import Path

from hydra_det.data.formats.places import folder_inside, folders_with, other_format
from hydra_det.data.formats.text_labels import Pair
from hydra_det.data.images import SUFFIXES, find_images, image_files, is_foreign
from hydra_det.data.layouts.words import TRAIN, WORDS, is_enough, spelled, with_test
from hydra_det.types import InputError

# Files with class names, the first that is there.
NAMES = (
    "data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "classes.txt", "obj.names", "labels/classes.txt",
    "images/classes.txt", "train/classes.txt",
)  # fmt: skip
LABEL = ".txt"
IMAGES, LABELS = "images", "labels"


def names_file(root: Path) -> str:
    """The file with the class names.

    Raises:
        InputError: there is none.
    """
    own = sorted(
        path.name for kind in ("*.yaml", "*.yml", "*.names") for path in root.glob(kind) if not is_foreign(path)
    )
    for name in (*NAMES, *own):
        if (root / name).is_file():
            return name
    raise InputError(
        f"data.names: expected class names at {root} ({NAMES[0]}, classes.txt, obj.names), found none; name their file"
        f"{other_format(root, 'yolo')}"
    )


def folder_layout(root: Path, *, testing: bool = False) -> dict[str, tuple[str, str]]:
    """By split, the folders of images and of labels, relative to the root; for `testing` without training images, too.

    Raises:
        InputError: there are none in one of the layouts.
    """
    for layout in (_images_and_labels, _folder_a_split, _darknet):
        found: dict[str, tuple[str, str]] = {}
        for split, images, labels in layout():
            if split not in found and (root / images).is_dir():
                found[split] = images, labels
        if is_enough(found, testing=testing):
            return with_test(found)
    if (root / IMAGES).is_dir() and (root / LABELS).is_dir():
        return {TRAIN: (IMAGES, LABELS)}
    for folder in (IMAGES, "."):
        if any(file.suffix.lower() in SUFFIXES for file in (root / folder).glob("*")):
            return {TRAIN: (folder, folder)}
    there = folders_with(root, SUFFIXES)
    listed = f"there are {', '.join(there[:6])}" if there else "no image is there"
    raise InputError(
        f"data.train_images_dir: expected images below {root} where YOLO's tools put them ({IMAGES}/{WORDS[TRAIN][0]}, "
        f"{WORDS[TRAIN][0]}/{IMAGES}, {IMAGES}), found none; {listed}; name data.train_images_dir and "
        "data.train_labels_dir"
    )


def _images_and_labels() -> Iterator[tuple[str, str, str]]:
    """Ultralytics and CVAT."""
    for split, word in spelled():
        yield split, f"{IMAGES}/{word}", f"{LABELS}/{word}"


def _folder_a_split() -> Iterator[tuple[str, str, str]]:
    """Roboflow."""
    for split, word in spelled():
        yield split, f"{word}/{IMAGES}", f"{word}/{LABELS}"


def _darknet() -> Iterator[tuple[str, str, str]]:
    """CVAT's YOLO 1.1: text files beside the images."""
    for split, word in spelled():
        yield split, f"obj_{word}_data", f"obj_{word}_data"


def folder_pairs(root: Path, images: str, labels: str, *, split: str) -> tuple[Path, list[Pair]]:
    """The folder of the images of a split, and its images, each with the file of its labels."""
    folder = folder_inside(root, images, key=f"data.{split}_images_dir", what="a folder of images")
    files = find_images(folder)
    base = folder_inside(root, labels, key=f"data.{split}_labels_dir", what="a folder of labels", suffixes=(LABEL,))
    return folder, [(image, (base / image.relative_to(folder)).with_suffix(LABEL)) for image in files]


def labels_folder(images: str) -> str:
    """Where YOLO's tools look for the labels of a folder of images: `labels` instead of the last `images`, or in it.

    Example:
        >>> labels_folder("a/images/train"), labels_folder("photos")
        ('a/labels/train', 'photos')
    """
    parts = images.split("/")
    for place in reversed(range(len(parts))):
        if parts[place] == IMAGES:
            return "/".join([*parts[:place], LABELS, *parts[place + 1 :]])
    return images


def label_of(image: Path) -> Path:
    """The same of one image. Some tools write both kinds into the folder of the images."""
    beside = image.with_suffix(LABEL)
    other = Path(labels_folder(image.parent.as_posix())) / beside.name
    return beside if beside.is_file() and not other.is_file() else other


def strays(labels: set[Path], claimed: set[Path]) -> Iterator[tuple[Path, int]]:
    """Files with labels that belong to no image, and how many lines they have.

    Args:
        labels: folders of labels; those below them are looked into as well.
        claimed: the label files of all images.
    """
    seen: set[Path] = set()
    for folder in sorted(labels):
        for file in sorted(folder.rglob(f"*{LABEL}")):
            if file in claimed or file in seen or is_foreign(file):
                continue
            seen.add(file)
            if count := _lines_of_labels(file):
                yield file, count


def _lines_of_labels(file: Path) -> int:
    """How many objects a text file lists; 0 where it is something else, such as a list of class names."""
    try:
        lines = [line.split() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
        for line in lines[:1]:
            [float(word) for word in line]
    except (OSError, UnicodeDecodeError, ValueError):
        return 0
    return len(lines) if lines and len(lines[0]) >= 5 else 0


def image_sources(paths: list[Path]) -> list[Path]:
    """Images of folders and files, in the order given, those of a folder by name."""
    return [image for path in paths for image in (image_files(path) if path.is_dir() else [path])]
