"""The same few pictures as each tool exports them, in the layouts that the tools document."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 32)
CLASSES = ["fox", "raccoon"]
Box = tuple[int, int, int, int]  # left, top, right, bottom
# Stem -> class and box; the names are such as people give. None is without objects: not every tool exports those.
OBJECTS: dict[str, list[tuple[str, Box]]] = {
    "img 0": [("raccoon", (4, 5, 24, 15)), ("fox", (30, 2, 46, 30))],
    "img 1": [("fox", (0, 0, 48, 32))],
    "img.2": [("raccoon", (10, 10, 20, 20))],
    "img-3": [("raccoon", (1, 1, 9, 9)), ("raccoon", (20, 3, 31, 29))],
    "img_4": [("fox", (5, 6, 25, 26))],
    "img5": [("fox", (3, 4, 13, 24)), ("raccoon", (16, 8, 40, 28))],
}
SPLIT = {"train": ["img 0", "img 1", "img.2", "img-3"], "valid": ["img_4"], "test": ["img5"]}


def picture(path: Path, stem: str, **options: Any) -> None:
    """Noise that belongs to the stem."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(stem.encode()))
    Image.fromarray(rng.integers(0, 256, size=(SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(path, **options)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def coco_json(stems: Sequence[str], *, name: str = "{}.jpg", group: str | None = None) -> str:
    """COCO's file; a group is a category above the classes that nothing carries, as Roboflow writes it."""
    first = [] if group is None else [{"id": 0, "name": group, "supercategory": "none"}]
    content: dict[str, Any] = {
        "info": {}, "licenses": [],
        "categories": first + [{"id": k, "name": c, "supercategory": group or ""} for k, c in enumerate(CLASSES, 1)],
        "images": [], "annotations": [],
    }  # fmt: skip
    for number, stem in enumerate(stems):
        content["images"].append({"id": number, "file_name": name.format(stem), "width": SIZE[0], "height": SIZE[1]})
        for kind, (x1, y1, x2, y2) in OBJECTS[stem]:
            content["annotations"].append({
                "id": len(content["annotations"]), "image_id": number, "category_id": CLASSES.index(kind) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "segmentation": [], "iscrowd": 0,
            })  # fmt: skip
    return json.dumps(content)


def voc_xml(stem: str, *, filename: str = "{}.jpg", number: str = "{}") -> str:
    things = "".join(
        f"<object><name>{kind}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        + "".join(f"<{key}>{number.format(value)}</{key}>" for key, value in zip(
            ("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for kind, box in OBJECTS[stem]
    )  # fmt: skip
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    path = f"<path>C:\\Users\\me\\pictures\\{stem}.jpg</path>"
    return (
        f"<annotation><folder>x</folder><filename>{filename.format(stem)}</filename>{path}{size}{things}</annotation>"
    )


def yolo_txt(stem: str, *, polygons: bool = False) -> str:
    lines = []
    for kind, (x1, y1, x2, y2) in OBJECTS[stem]:
        (w, h), c = SIZE, CLASSES.index(kind)
        if polygons:  # a diamond whose corners touch the sides of the box
            mid = (x1 + x2) / 2 / w, (y1 + y2) / 2 / h
            corners = [mid[0], y1 / h, x2 / w, mid[1], mid[0], y2 / h, x1 / w, mid[1]]
            lines.append(" ".join([str(c), *(f"{value:.6f}" for value in corners)]))
        else:
            shares = ((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h)
            lines.append(" ".join([str(c), *(f"{value:.6f}" for value in shares)]))
    return "\n".join(lines) + "\n"


def roboflow_yolo(root: Path, *, polygons: bool = False) -> None:
    for split, stems in SPLIT.items():
        for stem in stems:
            picture(root / split / "images" / f"{stem}.jpg", stem)
            text(root / split / "labels" / f"{stem}.txt", yolo_txt(stem, polygons=polygons))
    text(root / "data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
         f"names: {CLASSES}\n\nroboflow:\n  workspace: me\n  version: 1\n")  # fmt: skip
    text(root / "README.roboflow.txt", "raccoons - v1\n==============\n")


def ultralytics(root: Path, *, yaml: str = "path: {root}\ntrain: images/train\nval: images/val\ntest:\n") -> None:
    for split, stems in (("train", SPLIT["train"]), ("val", SPLIT["valid"] + SPLIT["test"])):
        for stem in stems:
            picture(root / "images" / split / f"{stem}.jpg", stem)
            text(root / "labels" / split / f"{stem}.txt", yolo_txt(stem))
        listed = "".join(f"./images/{split}/{stem}.jpg\n" for stem in stems)
        text(root / f"{split}.txt", listed)
    text(root / "data.yaml", yaml.format(root=root) + "names:\n  0: fox\n  1: raccoon\n")


def cvat_yolo(root: Path) -> None:
    """YOLO 1.1: text files beside the images."""
    for stem in OBJECTS:
        picture(root / "obj_train_data" / f"{stem}.jpg", stem)
        text(root / "obj_train_data" / f"{stem}.txt", yolo_txt(stem))
    text(root / "obj.names", "fox\nraccoon\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    text(root / "train.txt", "".join(f"data/obj_train_data/{stem}.jpg\n" for stem in OBJECTS))


def cvat_ultralytics(root: Path) -> None:
    """Ultralytics YOLO: a list whose lines begin with data/."""
    for stem in OBJECTS:
        picture(root / "images" / "train" / f"{stem}.jpg", stem)
        text(root / "labels" / "train" / f"{stem}.txt", yolo_txt(stem))
    text(root / "train.txt", "".join(f"data/images/train/{stem}.jpg\n" for stem in OBJECTS))
    text(root / "data.yaml", "names:\n  0: fox\n  1: raccoon\npath: .\ntrain: train.txt\n")


def label_studio_yolo(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / "images" / f"{stem}.jpg", stem)
        text(root / "labels" / f"{stem}.txt", yolo_txt(stem))
    text(root / "classes.txt", "fox\nraccoon\n")
    text(root / "notes.json", json.dumps({"categories": [{"id": k, "name": c} for k, c in enumerate(CLASSES)]}))


def labelimg_yolo(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / f"{stem}.jpg", stem)
        text(root / f"{stem}.txt", yolo_txt(stem))
    text(root / "classes.txt", "fox\nraccoon\n")


def roboflow_coco(root: Path) -> None:
    for split, stems in SPLIT.items():
        for stem in stems:
            picture(root / split / f"{stem}.jpg", stem)
        text(root / split / "_annotations.coco.json", coco_json(stems, group="raccoon"))


def cvat_coco(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / "images" / f"{stem}.jpg", stem)
    text(root / "annotations" / "instances_default.json", coco_json(list(OBJECTS)))


def cvat_coco_subsets(root: Path) -> None:
    for split, stems in (("Train", SPLIT["train"]), ("Validation", SPLIT["valid"] + SPLIT["test"])):
        for stem in stems:
            picture(root / "images" / split / f"{stem}.jpg", stem)
        text(root / "annotations" / f"instances_{split}.json", coco_json(stems))


def coco_2017(root: Path) -> None:
    for split, stems in (("train2017", SPLIT["train"]), ("val2017", SPLIT["valid"] + SPLIT["test"])):
        for stem in stems:
            picture(root / split / f"{stem}.jpg", stem)
        text(root / "annotations" / f"instances_{split}.json", coco_json(stems))


def label_studio_coco(root: Path, *, name: str = "images/{}.jpg") -> None:
    for stem in OBJECTS:
        picture(root / "images" / f"{stem}.jpg", stem)
    text(root / "result.json", coco_json(list(OBJECTS), name=name))


def voc(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / "JPEGImages" / f"{stem}.jpg", stem)
        text(root / "Annotations" / f"{stem}.xml", voc_xml(stem))
    for word, stems in (("train", SPLIT["train"]), ("val", SPLIT["valid"] + SPLIT["test"])):
        text(root / "ImageSets" / "Main" / f"{word}.txt", "".join(f"{stem}\n" for stem in stems))
        text(root / "ImageSets" / "Main" / f"fox_{word}.txt", "".join(f"{stem}  1\n" for stem in stems))


def cvat_voc(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / "JPEGImages" / f"{stem}.jpg", stem)
        text(root / "Annotations" / f"{stem}.xml", voc_xml(stem, number="{:.2f}"))
    text(root / "ImageSets" / "Main" / "default.txt", "".join(f"{stem}\n" for stem in OBJECTS))
    text(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nfox:1,2,3::\n")


def roboflow_voc(root: Path) -> None:
    for split, stems in SPLIT.items():
        for stem in stems:
            picture(root / split / f"{stem}.jpg", stem)
            text(root / split / f"{stem}.xml", voc_xml(stem))


def label_studio_voc(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / "images" / f"{stem}.jpg", stem)
        text(root / "Annotations" / f"{stem}.xml", voc_xml(stem, filename="{}"))


def labelimg_voc(root: Path) -> None:
    for stem in OBJECTS:
        picture(root / f"{stem}.jpg", stem)
        text(root / f"{stem}.xml", voc_xml(stem, filename="C:\\Users\\me\\pictures\\{}.jpg", number="{:.1f}"))


# Format and layout -> whoever writes it, and whether it has test images of its own.
EXPORTS: dict[str, tuple[str, Callable[[Path], None], bool]] = {
    "coco: COCO 2017": ("coco", coco_2017, True),
    "coco: Roboflow": ("coco", roboflow_coco, True),
    "coco: CVAT": ("coco", cvat_coco, False),
    "coco: CVAT, subsets": ("coco", cvat_coco_subsets, True),
    "coco: Label Studio": ("coco", label_studio_coco, False),
    "coco: Label Studio, Windows": (
        "coco", lambda root: label_studio_coco(root, name="C:\\label-studio\\upload\\1\\{}.jpg"), False),
    "yolo: Roboflow": ("yolo", roboflow_yolo, True),
    "yolo: Roboflow, polygons": ("yolo", lambda root: roboflow_yolo(root, polygons=True), True),
    "yolo: Ultralytics": ("yolo", ultralytics, True),
    "yolo: Ultralytics, lists": (
        "yolo", lambda root: ultralytics(root, yaml="path: .\ntrain: [train.txt]\nval: val.txt\n"), True),
    "yolo: Ultralytics, moved": (
        "yolo", lambda root: ultralytics(root, yaml="path: ../set\ntrain: images/train\nval: [images/val]\n"), True),
    "yolo: Ultralytics, names only": ("yolo", lambda root: ultralytics(root, yaml=""), True),
    "yolo: CVAT, YOLO 1.1": ("yolo", cvat_yolo, False),
    "yolo: CVAT, Ultralytics": ("yolo", cvat_ultralytics, False),
    "yolo: Label Studio": ("yolo", label_studio_yolo, False),
    "yolo: labelImg": ("yolo", labelimg_yolo, False),
    "voc: VOC": ("voc", voc, True),
    "voc: CVAT": ("voc", cvat_voc, False),
    "voc: Roboflow": ("voc", roboflow_voc, True),
    "voc: Label Studio": ("voc", label_studio_voc, False),
    "voc: labelImg": ("voc", labelimg_voc, False),
}  # fmt: skip
