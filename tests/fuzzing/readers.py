"""Every reader of files with a small valid example of what it reads, to be spoilt.

A reader may answer, or raise `InputError` or `RecordError` with one line. Whatever else it does is a fault of ours.
"""

import copy
import functools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hydra_det.compaction.compact import as_graph
from hydra_det.compaction.files import ARCHITECTURE, WEIGHTS, load_compact, save_compact
from hydra_det.data.datamodule import DetectionData
from hydra_det.data.formats.coco import read_coco
from hydra_det.data.formats.names import read_names
from hydra_det.data.formats.splits import fingerprint
from hydra_det.data.images import load_rgb, read_size
from hydra_det.data.media.video import Video, VideoWriter
from hydra_det.data.samples import Split
from hydra_det.data.sources import CocoData, KittiData, VocData, YoloData
from hydra_det.errors import InputError
from hydra_det.finished.predict import Predictor
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.darknet.network import DarknetDetector
from hydra_det.modules.darknet.weights import load_darknet_weights, save_darknet_weights
from hydra_det.modules.weights import load_pretrained, save_weights
from hydra_det.modules.yolo.yolov3 import YOLOv3Tiny
from hydra_det.pipeline import build
from hydra_det.pipeline.build import to_yaml
from hydra_det.records.objectives import read_search, write_search
from hydra_det.records.record import RecordError, read_record, write_record
from hydra_det.records.robustness import read_robustness
from hydra_det.records.table import records_frame
from hydra_det.store.store import Store
from hydra_det.store.store import fingerprint as store_fingerprint
from tests.pipeline.tiny import compose
from tests.reports.example import example_record, network

OWN = (InputError, RecordError)
LONGEST = 1500  # letters of a message, of which the path may be some hundred
OPTIONS: dict[str, Any] = {"name": "tiny", "image_size": 64, "batch_size": 1}


class Reader(NamedTuple):
    """A reader, and what it reads.

    Attributes:
        file: the one that is spoilt, below a folder.
        prepare: writes a valid example into a folder, `file` and whatever lies around it.
        read: from the folder; text that it returns must be text that files can hold.
    """

    file: str
    prepare: Callable[[Path], object]
    read: Callable[[Path], object]


def complaint(name: str, folder: Path) -> str | None:
    """Read a prepared folder, and return what the reader says against it; None: nothing.

    Any other error than our own, or a message that is not one short line, goes through.
    """
    try:
        READERS[name].read(folder)
    except OWN as error:
        said = str(error)
        assert said.isprintable(), f"not one line: {said!r}"
        assert 0 < len(said) <= LONGEST, f"{len(said)} letters: {said:.300}..."
        return said
    return None


def _picture(path: Path, *, size: tuple[int, int] = (48, 32), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 32}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 10.5], "area": 150.5, "iscrowd": 0}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}
VOC = (
    "<annotation><filename>a.png</filename><size><width>48</width><height>32</height></size><object><name>cat</name>"
    "<difficult>0</difficult><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>24</xmax><ymax>15</ymax></bndbox></object>"
    "</annotation>"
)
KITTI = (
    "Car 0.00 0 1.57 4.00 5.00 24.00 15.00 1.5 1.6 3.9 1.0 1.5 20.0 1.57\n"
    "DontCare -1 -1 -10 1 2 9 9 -1 -1 -1 -1 -1 -1 -10\n"
)
CFG = (
    "[net]\nwidth=64\nchannels=3\n[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=mish\n"
    "[convolutional]\nfilters=8\nsize=3\npad=1\ngroups=4\nactivation=leaky\n[shortcut]\nfrom=-2\n[maxpool]\nsize=2\n"
    "stride=2\n[route]\nlayers=-1,-1\ngroups=2\ngroup_id=1\n[upsample]\nstride=2\n"
    "[convolutional]\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=6,8, 11,5\nclasses=2\nnum=2\nscale_x_y=1.1\n"
)
NAMES = "path: ../elsewhere\nnames:\n  0: cat\n  1: dog\n"


def _coco(folder: Path) -> None:
    _picture(folder / "images" / "a.png")
    _text(folder / "coco.json", json.dumps(COCO))


def _coco_layout(folder: Path) -> None:
    _picture(folder / "images" / "a.png")
    _text(folder / "annotations" / "instances_default.json", json.dumps(COCO))


def _voc(folder: Path) -> None:
    _picture(folder / "JPEGImages" / "a.png")
    _text(folder / "Annotations" / "a.xml", VOC)
    _text(folder / "list.txt", "a\n")


def _yolo(folder: Path) -> None:
    for split in ("train", "val"):
        _picture(folder / "images" / split / "a.png")
        _text(folder / "labels" / split / "a.txt", "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.1 0.1\n")
    _text(folder / "data.yaml", NAMES)
    _text(folder / "classes.txt", "cat\ndog\n")


def _voc_beside(folder: Path) -> None:
    """Other pictures than that of the xml file lie there as well."""
    _voc(folder)
    for name in ("b.png", "c.jpg", "c.png"):
        _picture(folder / "JPEGImages" / name)


def _data_yaml(folder: Path) -> None:
    _yolo(folder)
    _picture(folder / "odd" / "images" / "a.png")
    _text(folder / "val.txt", "./images/val/a.png\n")
    _text(folder / "data.yaml", "path: .\ntrain: images/train\nval: [val.txt]\nnames: [cat, dog]\n")


def _kitti(folder: Path) -> None:
    _picture(folder / "image_2" / "a.png")
    _text(folder / "label_2" / "a.txt", KITTI)
    _text(folder / "list.txt", "a\n")


def _lists() -> dict[str, Any]:
    return {"train_list": "list.txt", "test_list": "list.txt", **OPTIONS}


def _used(split: Split) -> None:
    """What is done with a split that was read: it is hashed, and its names are written."""
    fingerprint(split)
    "".join((*split.class_names, *(record.file_name for record in split.records))).encode()


def _all_used(splits: dict[str, Split]) -> None:
    for split in splits.values():
        _used(split)


def _record(folder: Path) -> None:
    write_record(folder / "record.json", example_record())


def _robustness(folder: Path) -> None:
    protocols = network(0.4, None)["clean"]
    origin: dict[str, Any] = {"run": "a", "created": "2030", "commit": None, "versions": {}, "attack_seed": 0,
                              "dataset": "f", "transfer": None}  # fmt: skip
    attack = {"name": "pgd", "attack": {"name": "pgd", "epsilon": 0.05}, "config": {"steps": 5}, "metrics": protocols,
              "worst_for": 3, "seconds": 1.5}  # fmt: skip
    alarm = {"name": "zero_gradients", "figure": None, "limit": 0.5, "raised": None, "meaning": "share"}
    content = {"origin": origin, "suite": "quick", "epsilon": 0.05, "network": "pruned", "images": 3,
               "clean": protocols, "attacks": [attack], "combined": None, "robust_map": None, "curve": [1.0, 2.0],
               "alarms": [alarm]}  # fmt: skip
    _text(folder / "robustness.json", json.dumps(content))


def _search(folder: Path) -> None:
    trial: Any = {"ratio": 0.5, "folder": "a", "values": {"map_clean": 0.4}, "meets": True, "refused": None}
    search: Any = {"name": "s", "created": "2030", "goals": {"map_clean": 0.3}, "lowest": 0.0, "highest": 0.9,
                   "tolerance": 0.1, "dense": {"map_clean": 0.5}, "trials": [trial], "chosen": 0,
                   "notes": []}  # fmt: skip
    write_search(folder / "target.json", search)


@functools.cache
def tiny() -> YOLOv3Tiny:
    """The smallest network there is."""
    torch.manual_seed(0)
    return YOLOv3Tiny(num_classes=2, width=0.03125).eval()


def _compact(folder: Path) -> None:
    save_compact(folder, as_graph(tiny()), {"classes": ["a", "b"]})


class Own(nn.Module):
    """A network of somebody else's class."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> [B, 2, H, W]"""
        return [self.layers(images)]


def _own(folder: Path) -> None:
    torch.manual_seed(0)
    save_compact(folder, Own().eval(), {"classes": ["a", "b"]})


@functools.cache
def _config() -> str:
    config = compose(["data=shapes"])
    kept = ("store", "data", "model", "trainer", "stage", "evaluation", "callbacks")
    return to_yaml({key: config[key] for key in kept})


def _run(folder: Path) -> None:
    _text(folder / "config.yaml", _config())
    _record(folder)


def _opened(folder: Path) -> None:
    """A finished run, with whatever is read of its config before its data and weights are."""
    run = FinishedRun(folder)
    assert isinstance(run.data, DetectionData)
    for name in ("pretrain", "finetune"):
        spec = run.config["stage"][name]
        assert not spec["masked"] or all(isinstance(layer, str) for layer in spec["exclude"])
    settings = [run.config["evaluation"][key] for key in ("attack", "attack_seed", "bootstrap", "samples")]
    store_fingerprint({"a": [*settings, run.config["model"]["nms"], run.config["trainer"]["precision"]]})
    build.wants_bar(run.config)
    shown = {key: run.config["data"][key] for key in ("image_size", "greyscale")}
    Predictor(tiny(), class_names=["a", "b"], **shown)


def _stage(folder: Path) -> None:
    store = Store(folder)
    _text(store.partial("prune", "0123456789ab") / "weights.safetensors", "weights")
    store.publish("prune", "0123456789ab", {"name": "prune", "seconds": 1.5, "fingerprint": "0123456789ab"})


def _turned() -> bytes:
    """The EXIF block of a camera that was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _video(folder: Path) -> None:
    with VideoWriter(folder / "clip.mp4", rate=Fraction(10)) as writer:
        for grey in (10, 90, 200):
            writer.write(np.full((32, 48, 3), grey, dtype=np.uint8))


def _image(name: str, **options: Any) -> Reader:
    """An image file; a size is read from its header, then its pixels."""
    file = f"picture.{name}"

    def read(folder: Path) -> None:
        read_size(folder / file)
        load_rgb(folder / file)

    return Reader(file, lambda folder: _picture(folder / file, **options), read)


READERS: dict[str, Reader] = {
    "coco": Reader("coco.json", _coco, lambda f: _used(read_coco(f, "coco.json", "images", name="train"))),
    "voc": Reader("Annotations/a.xml", _voc, lambda f: _all_used(VocData(root=f, **_lists()).read())),
    "voc_list": Reader("list.txt", _voc, lambda f: _all_used(VocData(root=f, **_lists()).read())),
    "voc_beside": Reader("Annotations/a.xml", _voc_beside, lambda f: _all_used(VocData(root=f, **_lists()).read())),
    "data_yaml": Reader("data.yaml", _data_yaml, lambda f: _all_used(YoloData(root=f, **OPTIONS).read())),
    "data_list": Reader("val.txt", _data_yaml, lambda f: _all_used(YoloData(root=f, **OPTIONS).read())),
    "coco_layout": Reader(
        "annotations/instances_default.json", _coco_layout, lambda f: _all_used(CocoData(root=f, **OPTIONS).read())
    ),
    "yolo": Reader("labels/train/a.txt", _yolo, lambda f: _all_used(YoloData(root=f, **OPTIONS).read())),
    "yolo_yaml": Reader("data.yaml", _yolo, lambda f: "".join(read_names(f / "data.yaml")).encode()),
    "yolo_names": Reader("classes.txt", _yolo, lambda f: "".join(read_names(f / "classes.txt")).encode()),
    "kitti": Reader("label_2/a.txt", _kitti, lambda f: _all_used(KittiData(root=f, **_lists()).read())),
    "kitti_list": Reader("list.txt", _kitti, lambda f: _all_used(KittiData(root=f, **_lists()).read())),
    "record": Reader("record.json", _record, lambda f: records_frame({"a": read_record(f / "record.json")})),
    "robustness": Reader("robustness.json", _robustness, lambda f: read_robustness(f / "robustness.json")),
    "search": Reader("target.json", _search, lambda f: read_search(f / "target.json")),
    "darknet": Reader(
        "tiny.weights",
        lambda f: save_darknet_weights(tiny(), f / "tiny.weights"),
        lambda f: load_darknet_weights(copy.deepcopy(tiny()), f / "tiny.weights"),
    ),
    "darknet_cfg": Reader(
        "net.cfg",
        lambda f: _text(f / "net.cfg", CFG),
        lambda f: DarknetDetector(cfg=f / "net.cfg"),
    ),
    "weights": Reader(
        "net.safetensors",
        lambda f: save_weights(tiny(), f / "net.safetensors"),
        lambda f: load_pretrained(copy.deepcopy(tiny()), f / "net.safetensors"),
    ),
    "compact": Reader(ARCHITECTURE, _compact, load_compact),
    "compact_weights": Reader(WEIGHTS, _compact, load_compact),
    "compact_own": Reader(ARCHITECTURE, _own, lambda f: load_compact(f, make=Own)),
    "compact_own_weights": Reader(WEIGHTS, _own, lambda f: load_compact(f, make=Own)),
    "run_config": Reader("config.yaml", _run, _opened),
    "stage": Reader(
        "prune-0123456789ab/stage.json", _stage, lambda f: Store(f).find("prune", "0123456789ab")
    ),
    "png": _image("png"),
    "jpg": _image("jpg", exif=_turned()),
    "tif": _image("tif", compression="tiff_lzw"),
    "webp": _image("webp"),
    "bmp": _image("bmp"),
    "video": Reader("clip.mp4", _video, lambda f: list(Video(f / "clip.mp4"))),
}  # fmt: skip
