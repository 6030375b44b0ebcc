"""What only real weights on real images show: that a network finds what its authors say it finds.

Random weights agree with another reader whatever the anchors are. The files lie beside the checkout, in
`../shared/data`; each folder says where its own come from.
"""

from pathlib import Path
from typing import Any

import pytest

import hydra_det

REAL = Path(__file__).parents[2] / "shared" / "data"
TINY, COCO = REAL / "yolov3_tiny_coco", REAL / "coco_real"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TINY.is_dir() and COCO.is_dir()), reason="needs real weights and images"),
]
PUBLISHED_TINY = [[10, 14], [23, 27], [37, 58], [81, 82], [135, 169], [344, 319]]  # of the .cfg, masks 0,1,2 and 3,4,5


def coco_val(image_size: int = 416, *, images: int | None = None) -> hydra_det.CocoData:
    """The 206 images of COCO's val2017, or some of them, as test images."""
    file, folder = "annotations/instances_val.json", "images/val2017"
    return hydra_det.CocoData(
        root=COCO, name="coco_real", train_annotations=file, test_annotations=file, train_images_dir=folder,
        test_images_dir=folder, image_size=image_size, test_images=images, batch_size=16, cache_images=False,
        allow_overlap=True,
    )  # fmt: skip


def test_official_tiny_weights_reach_their_ap() -> None:
    net = hydra_det.build_network("yolov3_tiny", num_classes=80, weights=TINY / "yolov3-tiny.weights")
    found: Any = hydra_det.evaluate(net, coco_val())["clean"]["coco"]
    assert found["map"] >= 0.195
    assert found["map_50"] >= 0.39


def test_the_anchors_of_the_published_cfg_halve_it() -> None:
    """The images, the weights and the scorer can tell: else the test above would say nothing of anchors."""
    weights = TINY / "yolov3-tiny.weights"
    net = hydra_det.build_network("yolov3_tiny", num_classes=80, weights=weights, anchors=PUBLISHED_TINY)
    found: Any = hydra_det.evaluate(net, coco_val())["clean"]["coco"]
    assert found["map"] < 0.13
