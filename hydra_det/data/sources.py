"""Where the images come from: one data module per kind of source."""

from pathlib import Path
from typing import Any

from hydra_det.data.coco import read_coco
from hydra_det.data.datamodule import DetectionData
from hydra_det.data.samples import Split
from hydra_det.data.shapes import ShapesParameters, read_shapes


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
