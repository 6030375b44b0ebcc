"""Where the images come from: one data module per kind of source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_det.data.datamodule import DetectionData
from hydra_det.data.formats.assembly import assemble
from hydra_det.data.formats.coco import read_coco
from hydra_det.data.formats.names import read_names
from hydra_det.data.formats.places import Pictures, folder_inside, inside
from hydra_det.data.formats.text_labels import KITTI_CLASSES, Pair, parse_kitti, parse_yolo
from hydra_det.data.formats.voc import XmlFile, parse_voc, voc_classes
from hydra_det.data.images import image_files
from hydra_det.data.layouts.coco import CocoFiles, coco_layout
from hydra_det.data.layouts.data_yaml import yaml_pairs
from hydra_det.data.layouts.kitti import kitti_pairs
from hydra_det.data.layouts.voc import VocFolders, annotations_folder, images_folder, voc_layout, xml_files
from hydra_det.data.layouts.words import TEST, TRAIN, VAL
from hydra_det.data.layouts.yolo import folder_layout, folder_pairs, labels_folder, names_file, strays
from hydra_det.data.samples import Split
from hydra_det.data.shapes.pictures import ShapesParameters, read_shapes
from hydra_det.types import InputError

# Where the images of annotation files lie for which no folder is given.
IMAGES = ("images",)
COCO_IMAGES = {TRAIN: ("images/train2017",), VAL: ("images/train2017",), TEST: ("images/val2017",)}


class CocoData(DetectionData):
    """Any data set with COCO annotation files."""

    TEST_KEY = "data.test_annotations"

    def __init__(
        self,
        *,
        root: str | Path,
        train_annotations: str | None = None,
        test_annotations: str | None = None,
        val_annotations: str | None = None,
        train_images_dir: str | None = None,
        val_images_dir: str | None = None,
        test_images_dir: str | None = None,
        **options: Any,
    ) -> None:
        """All files and folders are relative to `root`; the further options are those of `DetectionData`.

        Without `train_annotations` the files are looked for where the tools put them, see `layouts/coco.py`; whatever
        is given takes the place of what is found. Images of files that are given lie in `images` by default.
        """
        super().__init__(**options)
        self.root = Path(root)
        self.annotations = {TRAIN: train_annotations, VAL: val_annotations, TEST: test_annotations}
        self.images = {TRAIN: train_images_dir, VAL: val_images_dir, TEST: test_images_dir}

    def read(self) -> dict[str, Split]:
        return {
            name: read_coco(self.root, files.annotations, files.images, name=name, **self.reading)
            for name, files in self._files().items()
        }

    def _files(self) -> dict[str, CocoFiles]:
        inside(self.root, ".", what="the data set")
        named = any(self.annotations.values()) if self.testing else self.annotations[TRAIN]
        files = {} if named else coco_layout(self.root, testing=self.testing)
        for split, annotations in self.annotations.items():
            if annotations:
                files[split] = CocoFiles(annotations, [*IMAGES, *COCO_IMAGES[split]])
            if split in files and (folder := self.images[split]):
                folder_inside(self.root, folder, key=f"data.{split}_images_dir", what="a folder of images")
                files[split] = CocoFiles(files[split].annotations, [folder])
        return files


class VocData(DetectionData):
    """An xml file an image, as Pascal VOC has them.

    Args:
        root: of the data set; all else is relative to it.
        train_list: text file with the names of images without their suffix, one a line.
        test_list: the same.
        val_list: the same; None holds validation images out of the training images.
        images_dir: folder of the images.
        annotations_dir: folder of the xml files.
        classes: names in label order; None takes all that occur, in alphabetical order.
        one_based: see `parse_voc`.
        difficult: see `parse_voc`.
        **options: of `DetectionData`.

    Lists and folders that are not given are looked for where the tools put them, see `layouts/voc.py`.
    """

    TEST_KEY = "data.test_list"

    def __init__(
        self,
        *,
        root: str | Path,
        train_list: str | None = None,
        test_list: str | None = None,
        val_list: str | None = None,
        images_dir: str | None = None,
        annotations_dir: str | None = None,
        classes: Sequence[str] | None = None,
        one_based: bool = False,
        difficult: str = "ignore",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.lists = {TRAIN: train_list, TEST: test_list, VAL: val_list}
        self.images_dir, self.annotations_dir = images_dir, annotations_dir
        self.classes = classes
        self.one_based, self.difficult = one_based, difficult

    def read(self) -> dict[str, Split]:
        parts = self._parts()
        files = {split: xml_files(self.root, part, split=split) for split, part in parts.items()}
        together = self.notes(self.root)
        every = [file for of_split in files.values() for file in of_split]
        classes = self.classes or voc_classes(every, notes=together)
        return {split: self._read(split, part, files[split], classes) for split, part in parts.items()}

    def _parts(self) -> dict[str, VocFolders]:
        inside(self.root, ".", what="the data set")
        if any(self.lists.values()):
            found: dict[str, VocFolders] = {}
            asked = dict(self.lists)
            if not self.testing:
                asked[TRAIN] = self.lists[TRAIN] or "ImageSets/Main/train.txt"
            for split, file in asked.items():
                if file:
                    found[split] = VocFolders(annotations_folder(self.root), images_folder(self.root), file)
        elif self.annotations_dir:
            found = {TRAIN: VocFolders(self.annotations_dir, images_folder(self.root, beside=self.annotations_dir))}
        else:
            found = voc_layout(self.root, testing=self.testing)
        return {
            split: VocFolders(
                self.annotations_dir or part.annotations, self.images_dir or part.images, part.images_list
            )
            for split, part in found.items()
        }

    def _read(self, split: str, part: VocFolders, files: list[XmlFile], classes: Sequence[str]) -> Split:
        folder = folder_inside(self.root, part.images, key="data.images_dir", what="a folder of images")
        notes = self.notes(inside(self.root, part.annotations, what="the folder of annotations"))
        content = parse_voc(
            files, pictures=Pictures(self.root, folder), classes=classes, one_based=self.one_based,
            difficult=self.difficult, notes=notes,
        )  # fmt: skip
        if part.images_list is None:
            taken = {image.path for image in content.images.values()}
            for image in image_files(folder):
                if image not in taken:
                    notes.add("unlisted", str(image))
        return assemble(content, root=self.root, folder=folder, name=split, notes=notes)


class YoloData(DetectionData):
    """A text file an image, as YOLO's tools have them, and a file with the class names."""

    TEST_KEY = "data.test_images_dir"

    def __init__(
        self,
        *,
        root: str | Path,
        names: str | None = None,
        train_images_dir: str | None = None,
        train_labels_dir: str | None = None,
        test_images_dir: str | None = None,
        test_labels_dir: str | None = None,
        val_images_dir: str | None = None,
        val_labels_dir: str | None = None,
        **options: Any,
    ) -> None:
        """All files and folders are relative to `root`; the further options are those of `DetectionData`.

        `names` is a file with a class name a line or a data yaml with `names`. Images in sub-folders count too. What is
        not given is what the data yaml says, or lies where the tools put it, see `layouts/yolo.py`.
        """
        super().__init__(**options)
        self.root = Path(root)
        self.names = names
        self.folders = {
            TRAIN: (train_images_dir, train_labels_dir),
            TEST: (test_images_dir, test_labels_dir),
            VAL: (val_images_dir, val_labels_dir),
        }
        for split, (images, labels) in self.folders.items():
            if split == VAL and (images is None) != (labels is None):
                raise InputError(
                    f"data.val_images_dir, data.val_labels_dir: expected both or neither, got {images} and {labels}"
                )

    def read(self) -> dict[str, Split]:
        inside(self.root, ".", what="the data set")
        names = self.names or names_file(self.root)
        classes = read_names(inside(self.root, names, what="the file of class names"))
        parts = self._pairs(names)
        claimed = {label for _, pairs in parts.values() for _, label in pairs}
        splits = {}
        for name, (folder, pairs) in parts.items():
            notes = self.notes(_labels_of(pairs))
            if name == TRAIN:
                for file, count in strays({label.parent for label in claimed}, claimed):
                    notes.add("orphan", f"{file}: {count} objects")
            content = parse_yolo(pairs, folder=folder, classes=classes, notes=notes)
            splits[name] = assemble(content, root=self.root, folder=folder, name=name, notes=notes)
        return splits

    def _pairs(self, names: str) -> dict[str, tuple[Path, list[Pair]]]:
        """By split, the folder of the images, and the images, each with the file of its labels."""
        found: dict[str, tuple[Path, list[Pair]]] = {}
        asked: dict[str, tuple[str, str]] = {}
        named = any(images for images, _ in self.folders.values()) if self.testing else None not in self.folders[TRAIN]
        if not named:
            found = yaml_pairs(self.root, names, testing=self.testing)
            asked = {} if found else folder_layout(self.root, testing=self.testing)
        for split, (images, labels) in self.folders.items():
            if images or labels:
                known = asked.get(split, (f"images/{split}", f"labels/{split}"))
                own = images or known[0]
                asked[split] = own, labels or (known[1] if own == known[0] else labels_folder(own))
        return found | {split: folder_pairs(self.root, *folders, split=split) for split, folders in asked.items()}


class KittiData(DetectionData):
    """KITTI's layout: a text file a frame.

    Args:
        root: of the data set; all else is relative to it.
        train_list: text file with the names of frames without their suffix, one a line; None takes all.
        test_list: the same; None leaves them to `split`.
        val_list: the same; None holds validation images out of the training images.
        images_dir: folder of the images.
        annotations_dir: folder of the labels.
        classes: names in label order; objects of others are left out.
        **options: of `DetectionData`.
    """

    TEST_KEY = "data.test_list"

    def __init__(
        self,
        *,
        root: str | Path,
        train_list: str | None = "train.txt",
        test_list: str | None = "val.txt",
        val_list: str | None = None,
        images_dir: str = "image_2",
        annotations_dir: str = "label_2",
        classes: Sequence[str] = KITTI_CLASSES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.lists = {TRAIN: train_list, TEST: test_list, VAL: val_list}
        self.images_dir, self.annotations_dir = images_dir, annotations_dir
        self.classes = classes

    def read(self) -> dict[str, Split]:
        splits = {}
        for split, file in self.lists.items():
            if (file is None and split != TRAIN) or (self.testing and self.lists[TEST] and split != TEST):
                continue
            images, pairs = kitti_pairs(self.root, self.images_dir, self.annotations_dir, file=file, split=split)
            notes = self.notes(_labels_of(pairs))
            content = parse_kitti(pairs, folder=images, classes=self.classes, notes=notes)
            splits[split] = assemble(content, root=self.root, folder=images, name=split, notes=notes)
        return splits


class ShapesData(DetectionData):
    """The built-in data set, see `shapes.py`; drawn on first use."""

    def __init__(
        self,
        *,
        root: str | Path = ".cache/shapes",
        canvas: int = 160,
        train_size: int = 1200,
        test_size: int = 200,
        drawing_seed: int = 0,
        **options: Any,
    ) -> None:
        """`root` keeps the pictures; the further options are those of `DetectionData`."""
        super().__init__(**options)
        self.root = Path(root)
        self.parameters = ShapesParameters(canvas, train_size, test_size, drawing_seed)

    def read(self) -> dict[str, Split]:
        return read_shapes(self.root, self.parameters)


def _labels_of(pairs: Sequence[Pair]) -> Path:
    """The folder of labels, for messages."""
    return pairs[0][1].parent
