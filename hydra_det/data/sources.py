"""Where the images come from: one data module per kind of source."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra_det.data.datamodule import DetectionData
from hydra_det.data.formats.assembly import AnnotationSet, assemble, inside
from hydra_det.data.formats.coco import read_coco
from hydra_det.data.formats.text_labels import ENCODING, KITTI_CLASSES, parse_kitti, parse_yolo, read_names
from hydra_det.data.formats.voc import parse_voc, voc_classes
from hydra_det.data.images import find_images
from hydra_det.data.samples import Split
from hydra_det.data.shapes.pictures import ShapesParameters, read_shapes
from hydra_det.types import InputError


class CocoData(DetectionData):
    """Any data set with COCO annotation files."""

    def __init__(
        self,
        *,
        root: str | Path,
        train_annotations: str,
        test_annotations: str,
        val_annotations: str | None = None,
        train_images_dir: str = "images",
        val_images_dir: str = "images",
        test_images_dir: str = "images",
        **options: Any,
    ) -> None:
        """All files and folders are relative to `root`; the further options are those of `DetectionData`."""
        super().__init__(**options)
        self.root = Path(root)
        self.files = {"train": (train_annotations, train_images_dir), "test": (test_annotations, test_images_dir)}
        if val_annotations is not None:
            self.files["val"] = (val_annotations, val_images_dir)

    def read(self) -> dict[str, Split]:
        return {
            name: read_coco(self.root, annotations, images, name=name, strict=self.strict)
            for name, (annotations, images) in self.files.items()
        }


class ListedData(DetectionData):
    """A folder of images, a folder of annotation files, and text files that list the images of a split.

    Args:
        root: of the data set; all else is relative to it.
        train_list: text file with the names of images without their suffix, one a line; further words are ignored.
        test_list: the same.
        val_list: the same; None holds validation images out of the training images.
        images_dir: folder of the images.
        annotations_dir: folder of the annotation files.
        **options: of `DetectionData`.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        train_list: str,
        test_list: str,
        images_dir: str,
        annotations_dir: str,
        val_list: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.lists = {"train": train_list, "test": test_list} | ({} if val_list is None else {"val": val_list})
        self.images_dir, self.annotations_dir = images_dir, annotations_dir

    @abstractmethod
    def parse(self, names: Mapping[str, list[str]], *, images: Path, annotations: Path) -> dict[str, AnnotationSet]:
        """The annotations of the images whose names are listed, by split; from the two folders."""

    def read(self) -> dict[str, Split]:
        images = inside(self.root, self.images_dir, what="the image folder")
        annotations = inside(self.root, self.annotations_dir, what="the folder of annotations")
        names = {split: self._listed(file, images, annotations) for split, file in self.lists.items()}
        return {
            split: assemble(content, root=self.root, folder=images, source=annotations, name=split, strict=self.strict)
            for split, content in self.parse(names, images=images, annotations=annotations).items()
        }

    def _listed(self, file: str, *folders: Path) -> list[str]:
        """The names in a list, which in no folder lead out of the data set."""
        path = inside(self.root, file, what="the list")
        names = read_list(path)
        for name in names:
            for folder in folders:
                inside(self.root, name, what=f"the image of a line of {path.name}", folder=folder)
        return names


class VocData(ListedData):
    """Pascal VOC's layout: an xml file an image.

    Args:
        classes: names in label order; None takes all that occur, in alphabetical order.
        one_based: see `parse_voc`.
        difficult: see `parse_voc`.
        **options: of `ListedData`, by default `LAYOUT`, and of `DetectionData`.
    """

    LAYOUT: ClassVar[dict[str, Any]] = {
        "train_list": "ImageSets/Main/train.txt",
        "test_list": "ImageSets/Main/val.txt",
        "images_dir": "JPEGImages",
        "annotations_dir": "Annotations",
    }

    def __init__(
        self,
        *,
        classes: Sequence[str] | None = None,
        one_based: bool = False,
        difficult: str = "ignore",
        **options: Any,
    ) -> None:
        super().__init__(**self.LAYOUT | options)
        self.classes = classes
        self.one_based, self.difficult = one_based, difficult

    def parse(self, names: Mapping[str, list[str]], *, images: Path, annotations: Path) -> dict[str, AnnotationSet]:
        files = {split: [annotations / f"{name}.xml" for name in listed] for split, listed in names.items()}
        classes = self.classes or voc_classes(file for listed in files.values() for file in listed)
        return {
            split: parse_voc(listed, classes=classes, one_based=self.one_based, difficult=self.difficult)
            for split, listed in files.items()
        }


class YoloData(DetectionData):
    """YOLO's layout: a text file an image, folders of images and of labels, and a file with the class names."""

    def __init__(
        self,
        *,
        root: str | Path,
        names: str = "data.yaml",
        train_images_dir: str = "images/train",
        train_labels_dir: str = "labels/train",
        test_images_dir: str = "images/val",
        test_labels_dir: str = "labels/val",
        val_images_dir: str | None = None,
        val_labels_dir: str | None = None,
        **options: Any,
    ) -> None:
        """All files and folders are relative to `root`; the further options are those of `DetectionData`.

        `names` is a file with a class name a line or a data yaml with `names`. Images in sub-folders count too.
        """
        super().__init__(**options)
        self.root = Path(root)
        self.names = names
        self.folders = {"train": (train_images_dir, train_labels_dir), "test": (test_images_dir, test_labels_dir)}
        if (val_images_dir is None) != (val_labels_dir is None):
            raise InputError(
                "data.val_images_dir, data.val_labels_dir: expected both or neither, "
                f"got {val_images_dir} and {val_labels_dir}"
            )
        if val_images_dir is not None and val_labels_dir is not None:
            self.folders["val"] = (val_images_dir, val_labels_dir)

    def read(self) -> dict[str, Split]:
        classes = read_names(inside(self.root, self.names, what="the file of class names"))
        splits = {}
        for name, (images, labels) in self.folders.items():
            folder = inside(self.root, images, what="the image folder")
            files = inside(self.root, labels, what="the folder of labels")
            content = parse_yolo(find_images(folder), folder=folder, labels=files, classes=classes)
            splits[name] = assemble(content, root=self.root, folder=folder, source=files, name=name, strict=self.strict)
        return splits


class KittiData(ListedData):
    """KITTI's layout: a text file a frame.

    Args:
        classes: names in label order; objects of others are left out.
        **options: of `ListedData`, by default `LAYOUT`, and of `DetectionData`.
    """

    LAYOUT: ClassVar[dict[str, Any]] = {
        "train_list": "train.txt",
        "test_list": "val.txt",
        "images_dir": "image_2",
        "annotations_dir": "label_2",
    }

    def __init__(self, *, classes: Sequence[str] = KITTI_CLASSES, **options: Any) -> None:
        super().__init__(**self.LAYOUT | options)
        self.classes = classes

    def parse(self, names: Mapping[str, list[str]], *, images: Path, annotations: Path) -> dict[str, AnnotationSet]:
        return {
            split: parse_kitti(
                [images / f"{name}.png" for name in listed], folder=images, labels=annotations, classes=self.classes
            )
            for split, listed in names.items()
        }


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


def read_list(path: Path) -> list[str]:
    """The first word of every line: names of images without their suffix."""
    try:
        names = [line.split()[0] for line in path.read_text(ENCODING).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file that lists images, could not read it ({error})") from error
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"{path}: expected a list of distinct images, came {len(names)}, {len(set(names))} of them distinct"
        )
    return names
