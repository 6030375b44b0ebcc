"""Torchvision's detectors behind our verbs answer, and lose, what torchvision's own code does from the same weights."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from hydra_det.boxes import Letterbox
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.protocol import check_detector
from hydra_det.modules.torchvision.faster_rcnn import FasterRCNNDetector
from hydra_det.modules.torchvision.retinanet import RetinaNetDetector
from hydra_det.types import InputError, Target
from tests.modules.torchvision.example import CLASSES, NAMES, SIZES, family, pictures, targets, theirs

TERMS = {
    "retinanet": {"classification": "classification", "box": "bbox_regression"},
    "fcos": {"classification": "classification", "box": "bbox_regression", "centerness": "bbox_ctrness"},
    "ssd": {"classification": "classification", "box": "bbox_regression"},
    "ssdlite": {"classification": "classification", "box": "bbox_regression"},
    "faster_rcnn": {
        "classification": "loss_classifier",
        "box": "loss_box_reg",
        "objectness": "loss_objectness",
        "proposals": "loss_rpn_box_reg",
    },
}
TERMS["faster_rcnn_mobilenet"] = TERMS["faster_rcnn"]
BACKGROUND = {"retinanet": 0, "fcos": 0, "ssd": 1, "ssdlite": 1, "faster_rcnn": 1, "faster_rcnn_mobilenet": 1}


@pytest.mark.parametrize("name", NAMES)
def test_detections_and_losses_are_torchvisions(name):
    ours = family(name, small=False)
    other = theirs(name)
    other.load_state_dict(ours.state_dict())  # the same keys and shapes
    images = pictures(name)
    other.eval()
    with torch.no_grad():
        found, expected = ours.detections(ours(images)), other(list(images))
    for one, two in zip(found, expected, strict=True):
        assert len(one.boxes) > 3
        torch.testing.assert_close(one.confidences, two["scores"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.boxes, two["boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(one.labels, two["labels"] - BACKGROUND[name])
    if name.startswith("faster_rcnn"):  # all are drawn, as torchvision draws others each time
        for net in (ours, other):
            for part in (net.rpn, net.roi_heads):
                part.fg_bg_sampler.batch_size_per_image = 10**6
    for module in (*ours.train().modules(), *other.train().modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # an image alone has no statistics
    for image, target in zip(images, targets(name), strict=True):
        wanted = {"boxes": target["boxes"], "labels": target["labels"] + BACKGROUND[name]}
        with torch.no_grad():
            losses = ours.losses(ours(image[None]), [target])
            lost = other([image], [wanted])
        assert {TERMS[name][term]: value.item() for term, value in losses.items()} == pytest.approx(
            {key: value.item() for key, value in lost.items()}, rel=1e-4, abs=1e-6
        )
        assert losses.total.item() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_protocol_holds(name):
    net = family(name)
    assert set(check_detector(net, num_classes=CLASSES, image_size=SIZES[name])) == set(TERMS[name])


@pytest.mark.parametrize("name", [name for name in NAMES if not str(name).startswith("faster_rcnn")])
def test_detections_are_among_the_candidates(name):
    net, images = family(name), pictures(name)
    size = SIZES[name]
    with torch.no_grad():
        raw = net(images)
        found, candidates = net.detections(raw), net.decode(raw)
    assert all(len(one.boxes) for one in found)
    for one, boxes, confidences in zip(found, candidates.boxes.clamp(0, size), candidates.confidences, strict=True):
        for box, confidence, label in zip(one.boxes[:20], one.confidences, one.labels, strict=False):
            same = (boxes - box).abs().amax(1) < 1e-3
            assert (confidences[same, label] - confidence).abs().min() < 1e-5


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("fcos", "faster_rcnn", "faster_rcnn_mobilenet")]
)
def test_evidence_is_the_true_class_where_objects_are(name):
    net = family(name)
    with torch.no_grad():
        raw = net(pictures(name))
    anchors = net._anchors(raw)
    exact = anchors[len(anchors) // 3]  # an object in the place of an anchor
    size = SIZES[name]
    target = Target(boxes=exact[None], labels=torch.tensor([1]), image_id=0, letterbox=Letterbox(size, size, size))
    raw = [level[:1].clone().requires_grad_() for level in raw]
    said = net.evidence(raw, [target])
    found = torch.autograd.grad(said.sum(), raw, allow_unused=True)
    chosen = net._outputs(
        [torch.zeros_like(level) if slope is None else slope for level, slope in zip(raw, found, strict=True)]
    )
    logits = chosen["cls_logits"][0]
    column = 1 + BACKGROUND[name]
    assert logits[len(anchors) // 3, column] == 1
    assert not logits[:, [other for other in range(logits.shape[1]) if other != column]].any()
    overlap = box_iou(exact[None], anchors)[0]
    assert torch.equal(logits[:, column] == 1, overlap >= 0.5)
    assert not chosen["bbox_regression"].any()


@pytest.mark.parametrize("name", ["retinanet", pytest.param("ssd", marks=pytest.mark.slow)])
def test_an_image_that_does_not_fit_is_refused(name):
    with pytest.raises(InputError, match=r"expected sides that are multiples of 32, from \d+ pixels on, got 72x64"):
        family(name)(torch.rand(1, 3, 72, 64))
    if name == "ssd":
        with pytest.raises(InputError, match="from 288 pixels on, got 256x256"):
            family(name)(torch.rand(1, 3, 256, 256))
        assert len(family(name)(torch.rand(1, 3, 288, 288))) == 12


def test_settings():
    net = RetinaNetDetector(
        num_classes=1, backbone="resnet18", anchor_sizes=[8, 16, 32, 64, 128], nms=NmsSettings(iou=0.3)
    )
    assert net.nms_thresh == 0.3
    with torch.no_grad():
        sides = net._anchors(net(torch.rand(1, 3, 64, 64)))
    areas = (sides[:, 2:] - sides[:, :2]).prod(1)
    assert areas.min().sqrt() == pytest.approx(8, abs=1)
    with pytest.raises(InputError, match=r"model.backbone: expected resnet18, resnet34, resnet50, got resnet5"):
        RetinaNetDetector(num_classes=1, backbone="resnet5")
    with pytest.raises(InputError, match=r"model.num_classes: expected at least 1, got 0"):
        FasterRCNNDetector(num_classes=0, backbone="resnet18")
    for sizes in ([8, 16], [8, 16, 32, 64, 0], [8, 16, 32, 64, float("inf")], []):
        for kind in (RetinaNetDetector, FasterRCNNDetector):
            with pytest.raises(
                InputError, match=r"model.anchor_sizes: expected 5 sides in pixels, one for each level, got"
            ):
                kind(num_classes=1, backbone="resnet18", anchor_sizes=sizes)
    with pytest.raises(InputError, match=r"model.anchor_sizes: expected sides in pixels, got \[\]"):
        FasterRCNNDetector(num_classes=1, backbone="mobilenet_v3_large", anchor_sizes=[])


def test_weights_that_learned_with_other_anchors_are_refused():
    settings = {"weights": "a/weights.safetensors", "num_classes": 3, "anchor_sizes": [8, 16, 32, 64, 128]}
    RetinaNetDetector.check_earlier(settings, Path("a"), lambda: dict(settings))
    RetinaNetDetector.check_earlier(settings, Path("a"), lambda: {**settings, "num_classes": 4, "anchor_sizes": None})
    with pytest.raises(InputError, match=r"found \[32, 64, 128, 256, 512\]; add 'model.anchor_sizes=\[32, 64"):
        RetinaNetDetector.check_earlier(settings, Path("a"), lambda: {**settings, "anchor_sizes": None})


def test_a_batch_of_one_image_trains():
    """The coarsest level of SSDlite has one place at 320 px: its BatchNorm has a single value per channel."""
    net = family("ssdlite").train()
    images, (first, _) = pictures("ssdlite"), targets("ssdlite")
    deepest = net.backbone.extra[-1][-1][1]
    before = deepest.running_mean.clone()
    loss = net.losses(net(images[:1]), [first]).total.sum()
    loss.backward()
    assert loss.isfinite()
    assert torch.equal(deepest.running_mean, before)
    net(images)
    assert not torch.equal(deepest.running_mean, before), "of two images it learns as ever"
