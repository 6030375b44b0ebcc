"""Darknet's .weights files, against OpenCV's reader and against files that are not what they say."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hydra_det.modules.darknet.weights import load_darknet_weights, save_darknet_weights
from hydra_det.modules.masked_conv import make_masked
from hydra_det.modules.yolo.backbones import ResidualUnit
from hydra_det.modules.yolo.yolov3 import COCO_TINY_ANCHORS, YOLOv3, YOLOv3SPP, YOLOv3Tiny
from hydra_det.types import InputError
from tests.modules.darknet_cfg import CFGS
from tests.modules.example import NETWORKS, network

FULL = {"yolov3": YOLOv3, "yolov3_tiny": YOLOv3Tiny, "yolov3_spp": YOLOv3SPP}


def trained(name: str, *, classes: int = 80) -> Any:
    """A full network whose activations keep their size through all layers, as after training."""
    torch.manual_seed(1)
    net = FULL[name](num_classes=classes).eval()
    damped: list[torch.Tensor] = []
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(std=0.1)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                if module.bias is not None:
                    module.weight.mul_(0.5)
                    module.bias.normal_(std=0.5)
            elif isinstance(module, ResidualUnit):
                damped.append(module.expand.norm.weight)
        for weight in damped:
            weight.mul_(0.3)  # sums over 23 units
    return net


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("size", [416, 608])
def test_boxes_and_confidences_are_those_of_another_reader(name, size, tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("this OpenCV has no reader of Darknet files")
    net, weights, cfg = trained(name), tmp_path / "net.weights", tmp_path / "net.cfg"
    save_darknet_weights(net, weights)
    cfg.write_text(CFGS[name](size=size, classes=80))
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = net.decode(net(image))

    other = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    other.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    other.setInput(image.numpy())
    rows = np.concatenate(
        other.forward(other.getUnconnectedOutLayersNames())
    )  # cx cy w h in [0, 1], objectness, classes
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1) * size

    # OpenCV goes cell by cell, this package anchor by anchor.
    mine = np.concatenate([ours.boxes[0], ours.confidences[0]], axis=1)
    theirs = np.concatenate([boxes, rows[:, 5:]], axis=1)
    start = 0
    for stride in net.strides:
        cells = (size // stride) ** 2
        level = theirs[start : start + 3 * cells].reshape(cells, 3, -1).swapaxes(0, 1).reshape(3 * cells, -1)
        np.testing.assert_allclose(mine[start : start + 3 * cells, :4], level[:, :4], atol=1e-3, rtol=1e-5)
        np.testing.assert_allclose(mine[start : start + 3 * cells, 4:], level[:, 4:], atol=1e-5)
        start += 3 * cells
    assert start == len(theirs)
    assert np.ptp(mine[:, 4:]) > 0.4
    assert np.ptp(mine[:, 2] - mine[:, 0]) > 100


@pytest.mark.parametrize("name", NETWORKS)
def test_written_and_read_again(name, tmp_path):
    net, other = network(name, seed=0), network(name, seed=1)
    save_darknet_weights(net, tmp_path / "net.weights", seen=32_013_312)
    assert load_darknet_weights(other, tmp_path / "net.weights") == []
    for key, tensor in net.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(tensor, other.state_dict()[key]), key
    assert struct.unpack("<iiiq", (tmp_path / "net.weights").read_bytes()[:20]) == (0, 2, 5, 32_013_312)


def test_the_sizes_of_the_official_files(tmp_path):
    # What pjreddie.com serves as yolov3.weights, yolov3-tiny.weights and yolov3-spp.weights.
    for name, size in (("yolov3", 248_007_048), ("yolov3_tiny", 35_434_956), ("yolov3_spp", 252_209_544)):
        save_darknet_weights(FULL[name](num_classes=80), tmp_path / "net.weights")
        assert (tmp_path / "net.weights").stat().st_size == size


def test_files_before_version_0_2_count_images_in_four_bytes(tmp_path):
    net, other = network("yolov3_tiny", seed=0), network("yolov3_tiny", seed=1)
    path = tmp_path / "net.weights"
    save_darknet_weights(net, path)
    path.write_bytes(struct.pack("<iiii", 0, 1, 0, 640) + path.read_bytes()[20:])
    load_darknet_weights(other, path)
    assert torch.equal(net.neck.conv.weight, other.neck.conv.weight)


@pytest.mark.parametrize("name", FULL)
def test_other_classes_keep_all_but_the_heads(name, tmp_path, caplog):
    anchors = {"anchors": COCO_TINY_ANCHORS} if name == "yolov3_tiny" else {}
    many = FULL[name](num_classes=80, width=0.125, **anchors)
    few = FULL[name](num_classes=3, width=0.125, **anchors)
    heads = {key: tensor.clone() for key, tensor in few.state_dict().items() if key.startswith("head")}
    save_darknet_weights(many, tmp_path / "net.weights")
    assert set(load_darknet_weights(few, tmp_path / "net.weights")) == set(heads)
    assert "has 80 classes, the network 3; left out: " in caplog.text
    assert all(key in caplog.text for key in heads)
    for key, tensor in few.state_dict().items():
        if key in heads:
            assert torch.equal(tensor, heads[key])
        elif not key.endswith("num_batches_tracked"):
            assert torch.equal(tensor, many.state_dict()[key]), key


SPOILED = {
    "truncated by a layer": (lambda data: data[:-4000], "which no number of classes explains; is it truncated"),
    "too long": (lambda data: data + b"\0" * 4, "which no number of classes explains"),
    "half a value": (lambda data: data[:-2], "expected whole float32 values"),
    "half a header": (lambda data: data[:11], "expected a header of 20 bytes, found 11"),
    "another version": (lambda data: struct.pack("<i", 7) + data[4:], "version 0.x, found 7.2.5"),
    "another program": (lambda data: b"PK\3\4" + data[4:], "is it a file of another program"),
    "nothing": (lambda data: b"", "expected a header of 20 bytes, found 0"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILED.values(), ids=list(SPOILED))
def test_a_file_that_does_not_fit_leaves_the_network_alone(spoil, said, tmp_path):
    path = tmp_path / "net.weights"
    save_darknet_weights(network("yolov3", seed=0), path)
    path.write_bytes(spoil(path.read_bytes()))
    net = network("yolov3", seed=1)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(InputError, match=said) as refused:
        load_darknet_weights(net, path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_a_file_that_is_not_there_and_a_masked_network(tmp_path):
    with pytest.raises(InputError, match=r"expected a Darknet \.weights file, found none"):
        load_darknet_weights(network("yolov3"), Path("nowhere.weights"))
    with pytest.raises(InputError, match="expected a dense network, got a masked one"):
        save_darknet_weights(make_masked(network("yolov3")), tmp_path / "net.weights")
    with pytest.raises(InputError, match="expected a network of the YOLO family, got Sequential"):
        save_darknet_weights(nn.Sequential(), tmp_path / "net.weights")
    assert list(tmp_path.iterdir()) == []
