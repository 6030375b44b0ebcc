"""Networks from a `.cfg`: the same boxes as in OpenCV's reader, and weights that fill them or say where they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hydra_det.compaction.compact import as_graph
from hydra_det.modules.darknet.network import DarknetDetector
from hydra_det.modules.darknet.weights import is_darknet, load_darknet_weights, save_darknet_weights
from hydra_det.modules.yolo.yolov3 import YOLOv3Tiny
from hydra_det.types import InputError
from tests.modules.darknet.example import CFGS, DEPTHWISE, darknet, section, written
from tests.modules.darknet.opencv import OpenCVDetector
from tests.modules.example import assert_untouched, network, snapshot


@pytest.mark.parametrize("name", CFGS)
@pytest.mark.parametrize("size", [64, 160])
def test_boxes_and_confidences_are_those_of_another_reader(name: str, size: int, tmp_path: Path) -> None:
    net = darknet(name)
    cfg = written(name, tmp_path)
    if name == "varied":  # OpenCV knows parts of one layer only
        text = cfg.read_text().replace("layers=-3,16\ngroups=4\ngroup_id=2", "layers=-3\ngroups=2\ngroup_id=1")
        cfg.write_text(text)
        seen = net.state_dict()
        net = DarknetDetector(cfg=cfg)
        net.load_state_dict(seen)
        net.eval()
    save_darknet_weights(net, tmp_path / "net.weights")
    levels = [(stride, 3) for stride in net.strides]
    other = OpenCVDetector(cfg, tmp_path / "net.weights", folder=tmp_path / "..", levels=levels)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = net.decode(net(images)), other(images)
    for image, found in enumerate(theirs):
        torch.testing.assert_close(ours.boxes[image], found.boxes[0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(ours.confidences[image], found.confidences[0], atol=1e-5, rtol=1e-4)
    assert ours.confidences.std() > 0.05
    assert ours.boxes.std() > 10


@pytest.mark.parametrize(("size", "stride", "padding"), [
    (2, 2, None), (2, 1, None), (3, 1, None), (3, 2, None), (5, 1, None), (4, 2, None), (4, 1, None), (3, 2, 1),
    (2, 2, 0),
])  # fmt: skip
def test_max_pooling_is_darknets_loop(size: int, stride: int, padding: int | None) -> None:
    """Windows begin at -padding / 2, and what lies outside counts as the lowest value (maxpool_layer.c)."""
    options = {"size": size, "stride": stride} | ({} if padding is None else {"padding": padding})
    text = section("net", channels=3) + section("maxpool", **options) + section(
        "convolutional", filters=6, size=1, activation="linear"
    ) + section("yolo", classes=1, anchors="1,1", num=1)  # fmt: skip
    net = DarknetDetector(cfg=text)
    head = net.get_submodule("heads.0")
    assert isinstance(head, nn.Conv2d)
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.weight[:3, :, 0, 0] = torch.eye(3)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 3
    with torch.no_grad():
        got = net(image)[0][0, 0, ..., :3].numpy()  # [H, W, 3]
    padding = size - 1 if padding is None else padding
    sides = (32 + padding - size) // stride + 1
    expected = np.full((sides, sides, 3), -np.inf)
    for row, column, channel in np.ndindex(sides, sides, 3):
        for down, across in np.ndindex(size, size):
            y, x = row * stride - padding // 2 + down, column * stride - padding // 2 + across
            if 0 <= y < 32 and 0 <= x < 32:
                expected[row, column, channel] = max(expected[row, column, channel], float(image[0, channel, y, x]))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_dropout_is_nothing_and_no_layer_is_lost() -> None:
    routed = DEPTHWISE.replace("[dropout]\nprobability=0.2", "[route]\nlayers=-1")
    with_it, without = DarknetDetector(cfg=DEPTHWISE), DarknetDetector(cfg=routed)
    assert with_it.graph == without.graph


@pytest.mark.parametrize("name", CFGS)
def test_a_backbone_fills_the_first_layers(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, net = darknet(name), darknet(name, seed=1)
    first = [layer for layer in whole.stored if layer.number is not None and layer.number < 13]
    save_darknet_weights(whole, tmp_path / "net.weights")
    path = tmp_path / "net.conv.13"
    path.write_bytes((tmp_path / "net.weights").read_bytes()[: 20 + 4 * floats(whole, first)])
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    left_out = set(load_darknet_weights(net, path))
    assert f"fills the first {len(first)} of {len(whole.stored)} convolutions" in caplog.text
    filled = {key for layer in first for key in (layer.conv, layer.norm)}
    for key, tensor in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        taken = key.rpartition(".")[0] in filled
        assert taken != (key in left_out)
        assert torch.equal(tensor, (whole.state_dict() if taken else before)[key]), key


def floats(net: DarknetDetector, layers: list[Any]) -> int:
    """What a file holds of some layers: four numbers a channel with BatchNorm, else one, and the weights."""
    count = 0
    for layer in layers:
        conv: Any = net.get_submodule(layer.conv)
        count += conv.weight.numel() + conv.out_channels * (4 if layer.norm else 1)
    return count


def test_a_backbone_of_another_network_is_refused(tmp_path: Path) -> None:
    whole = darknet("depthwise")
    save_darknet_weights(whole, tmp_path / "net.weights")
    content = (tmp_path / "net.weights").read_bytes()
    net = darknet("depthwise", seed=1)
    before = snapshot(net)
    end = 20 + 4 * floats(whole, [layer for layer in whole.stored if layer.number < 10])
    for name, data, said in (
        ("net.conv.10", content[: end - 40], r"for the 8 convolutions of its first 10 layers, .* is layer 9, \[conv"),
        ("net.conv.10", content[: end + 40], r"does not fill is layer 10, \[convolutional\] at line \d+"),
        ("net.conv.11", content[:end], r"of its first 11 layers"),
        ("net.conv.10", content + bytes(4), r"is it truncated, or the backbone of another network"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=said):
            load_darknet_weights(net, tmp_path / name)
    assert_untouched(net, before)


def test_a_backbone_of_a_family_that_has_no_cfg(tmp_path: Path) -> None:
    whole, net = network("yolov3_tiny", seed=0), network("yolov3_tiny", seed=1)
    save_darknet_weights(whole, tmp_path / "net.weights")
    parts = [value.numel() for key, value in whole.backbone.state_dict().items() if not key.endswith("tracked")]
    path = tmp_path / "tiny.conv.13"
    path.write_bytes((tmp_path / "net.weights").read_bytes()[: 20 + 4 * sum(parts)])
    left_out = load_darknet_weights(net, path)
    assert not [key for key in left_out if key.startswith("backbone")]
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, whole.backbone.state_dict()[key]) or key.endswith("tracked")
    path.write_bytes((tmp_path / "net.weights").read_bytes()[: 24 + 4 * sum(parts)])
    with pytest.raises(InputError, match=r"expected the values of whole layers, .* it does not fill is neck"):
        load_darknet_weights(net, path)


def test_names_of_files() -> None:
    names = ("a.weights", "darknet53.conv.74", "a.safetensors", "conv.3", "a.conv")
    assert [is_darknet(Path(name)) for name in names] == [True, True, False, False, False]


def test_a_filter_count_that_does_not_fit_names_a_layer(tmp_path: Path) -> None:
    """Behind the wrong layer everything is shifted: what should be a variance is a weight, half of them below 0."""
    save_darknet_weights(darknet("depthwise"), tmp_path / "net.weights")
    wrong = CFGS["depthwise"].replace("filters=48\nsize=1", "filters=40\nsize=1")  # layers 8 and 11
    with pytest.raises(InputError, match=r"layer that cannot be is layer 8, \[convolutional\] at line \d+: some"):
        load_darknet_weights(DarknetDetector(cfg=wrong), tmp_path / "net.weights")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-40], r"The first layer that it does not fill is layer 28, \[convolutional\] at line \d+"),
        (
            lambda data: data[: 20 + 4 * 100],
            r"The first layer that it does not fill is layer 0, \[convolutional\] at line 8",
        ),
        (lambda data: data + bytes(12), "It fills all layers, and 3 values are left over"),
    ],
)
def test_too_few_and_too_many_values_name_the_layer(change, said, tmp_path: Path) -> None:
    net = darknet("depthwise")
    path = tmp_path / "net.weights"
    save_darknet_weights(net, path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=said) as refused:
        load_darknet_weights(net, path)
    assert "\n" not in str(refused.value)


def test_weights_of_other_classes_fill_all_but_the_heads(tmp_path: Path) -> None:
    save_darknet_weights(darknet("varied"), tmp_path / "net.weights")
    text = CFGS["varied"].replace("classes=2", "classes=5").replace("filters=21\n", "filters=30\n")
    net = DarknetDetector(cfg=text, num_classes=5)
    left_out = load_darknet_weights(net, tmp_path / "net.weights")
    assert set(left_out) == {f"heads.{level}.{part}" for level in (0, 1) for part in ("weight", "bias")}
    whole = darknet("varied").state_dict()
    assert all(
        torch.equal(t, whole[k]) for k, t in net.state_dict().items() if k not in left_out and "tracked" not in k
    )


def test_a_compact_network_has_no_order_of_darknet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got GraphDetector"):
        save_darknet_weights(as_graph(YOLOv3Tiny(num_classes=1, width=0.125)), tmp_path / "net.weights")
