"""Weights come back bit by bit, and a file that does not fit leaves the network alone."""

import errno
import os
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from hydra_det.modules import weights
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.modules.weights import (
    load_pretrained,
    load_weights,
    read_weights,
    save_weights,
    trained_with,
    weights_hash,
)
from hydra_det.modules.yolo.yolov3 import YOLOv3, YOLOv3Tiny
from hydra_det.types import InputError
from tests.modules.example import CLASSES, NETWORKS, assert_untouched, network, snapshot
from tests.modules.test_masked_conv import scatter_masks


def saved(net, folder):
    path = folder / "weights.safetensors"
    save_weights(net, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("masked", [False, True])
def test_round_trip(name, masked, tmp_path):
    net, other = network(name, seed=1), network(name, seed=2)
    if masked:
        make_masked(net)
        make_masked(other)
        scatter_masks(net)
    expected = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    path = saved(net, tmp_path)
    load_weights(other, path)
    assert other.state_dict().keys() == expected.keys() == load_file(path).keys()
    for key, tensor in other.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
        assert tensor.dtype == expected[key].dtype


def test_memory_format_is_not_in_the_file(tmp_path):
    net = make_masked(network("yolov3").to(memory_format=torch.channels_last))
    scatter_masks(net)
    path, other = saved(net, tmp_path), make_masked(network("yolov3", seed=3))
    load_weights(other, path)
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in net.state_dict().items())
    plain = tmp_path / "plain.safetensors"
    save_weights(other, plain)
    assert weights_hash(path) == weights_hash(plain)


def wider(folder):
    return saved(YOLOv3(num_classes=CLASSES, width=0.25, depth=0.125), folder)


def more_classes(folder):
    return saved(YOLOv3(num_classes=CLASSES + 1, width=0.125, depth=0.125), folder)


def another_network(folder):
    return saved(network("yolov3_tiny"), folder)


def masked_one(folder):
    return saved(make_masked(network("yolov3")), folder)


def truncated(folder):
    path = saved(network("yolov3"), folder)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def empty(folder):
    path = folder / "empty.safetensors"
    path.touch()
    return path


def not_weights(folder):
    path = folder / "text.safetensors"
    path.write_text("these are not weights\n" * 100)
    return path


def missing(folder):
    return folder / "nothing.safetensors"


def one_tensor_less(folder):
    path = saved(network("yolov3"), folder)
    tensors = load_file(path)
    del tensors["heads.2.bias"]
    save_file(tensors, path)
    return path


def one_tensor_more(folder):
    path = saved(network("yolov3"), folder)
    save_file({**load_file(path), "heads.3.bias": torch.zeros(1)}, path)
    return path


def one_float_more(folder):
    path = saved(network("yolov3"), folder)
    tensors = load_file(path)
    save_file({**tensors, "heads.2.bias": torch.cat([tensors["heads.2.bias"], torch.zeros(1)])}, path)
    return path


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (wider, "expected .* of shape .*another width"),
        (more_classes, "expected heads.0.weight of shape .*other classes"),
        (another_network, "file of another network"),
        (masked_one, "found those of a masked one; take the file of the stage pretrain"),
        (truncated, "truncated"),
        (empty, "cannot be read"),
        (not_weights, "cannot be read"),
        (missing, "found none"),
        (one_tensor_less, "heads.2.bias is missing"),
        (one_tensor_more, "heads.3.bias is not expected"),
        (one_float_more, r"expected heads.2.bias of shape \[21\], found \[22\]"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(spoil, complaint, tmp_path):
    net = network("yolov3", seed=4)
    path, before = spoil(tmp_path), snapshot(net)
    with pytest.raises(InputError, match=complaint) as caught:
        load_weights(net, path)
    assert str(path) in str(caught.value)
    assert_untouched(net, before)


def test_hash_is_of_the_content(tmp_path):
    net = make_masked(network("yolov3_tiny"))
    path = saved(net, tmp_path)
    before = weights_hash(path)
    assert weights_hash(saved(net, tmp_path)) == before
    _, layer = masked_layers(net)[2]
    layer.mask.view(-1)[5] = False
    assert weights_hash(saved(net, tmp_path)) != before


def test_weights_of_other_classes_keep_all_but_the_heads(tmp_path, caplog):
    torch.manual_seed(0)
    many = YOLOv3(num_classes=7, width=0.125, depth=0.125)
    net = network("yolov3", seed=1)
    before = snapshot(net)["state"]
    left_out = load_pretrained(net, saved(many, tmp_path))
    assert set(left_out) == {f"heads.{level}.{part}" for level in range(3) for part in ("weight", "bias")}
    assert all(name in caplog.text for name in left_out)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name] if name in left_out else many.state_dict()[name]), name


def test_weights_of_the_same_classes_are_taken_whole(tmp_path, caplog):
    net, other = network("yolov3", seed=1), network("yolov3", seed=2)
    assert load_pretrained(net, saved(other, tmp_path)) == []
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in net.state_dict().items())
    assert not caplog.text


def test_weights_of_another_width_are_no_other_classes(tmp_path):
    net = network("yolov3", seed=4)
    path, before = wider(tmp_path), snapshot(net)
    with pytest.raises(InputError, match="another width"):
        load_pretrained(net, path)
    assert_untouched(net, before)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        RuntimeError("unable to open file <a> in read-only mode: Too many open files (24)"),
    ],
    ids=repr,
)
def test_a_good_file_is_not_blamed_for_the_machine(tmp_path, monkeypatch, error):
    def load(_: object) -> None:
        raise error

    path = saved(network("yolov3_tiny"), tmp_path)
    monkeypatch.setattr(weights, "load_file", load)
    with pytest.raises(type(error)) as raised:
        weights_hash(path)
    assert raised.value is error


def test_a_file_for_which_there_is_no_handle_is_there(tmp_path):
    path = saved(network("yolov3_tiny"), tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with path.open("rb") as file:
        lowest = file.fileno()  # that is free
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        with pytest.raises(OSError, match="Too many open files") as raised:
            read_weights(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.errno == errno.EMFILE


def halved(anchors):
    return [[width / 2, height / 2] for width, height in anchors]


@pytest.mark.parametrize("load", [load_weights, load_pretrained])
def test_weights_remember_their_anchors(load, tmp_path):
    own = [[12.3, 7.77], [9.0, 30.0], [40.0, 41.5], [40.0, 41.5], [60.0, 20.0], [61.0, 64.0]]  # one on both levels
    net = YOLOv3Tiny(num_classes=CLASSES, width=0.125, anchors=own)
    path = saved(net, tmp_path)
    assert trained_with(path) == (own, CLASSES)
    load(YOLOv3Tiny(num_classes=CLASSES, width=0.125, anchors=own), path)
    other = YOLOv3Tiny(num_classes=CLASSES, width=0.125, anchors=halved(own))
    before = snapshot(other)
    with pytest.raises(InputError, match=r"give 'model.anchors=\[\[12.3,7.77\],\[9.0,30.0\],") as refused:
        load(other, path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert_untouched(other, before)


def test_anchors_in_another_order_are_others(tmp_path):
    net = network("yolov3")
    path = saved(net, tmp_path)
    turned = YOLOv3(num_classes=CLASSES, width=0.125, depth=0.125, anchors=net.anchor_list[::-1])
    with pytest.raises(InputError, match="look for objects of other sizes"):
        load_weights(turned, path)


def test_new_heads_learn_with_any_anchors(tmp_path):
    net = YOLOv3(num_classes=7, width=0.125, depth=0.125)
    other = YOLOv3(num_classes=CLASSES, width=0.125, depth=0.125, anchors=halved(net.anchor_list))
    assert load_pretrained(other, saved(net, tmp_path))


def test_weights_that_say_nothing_of_anchors_are_taken(tmp_path):
    path = saved(network("yolov3"), tmp_path)
    save_file(load_file(path), path, metadata={"format": "pt"})  # as another program, or an earlier version
    assert trained_with(path) is None
    load_weights(YOLOv3(num_classes=CLASSES, width=0.125, depth=0.125, anchors=[(1, 1)] * 9), path)


@pytest.mark.parametrize(
    "said", ["", "{}", "[1]", '{"anchors": [[1]], "num_classes": 2}', '{"anchors": 3}', "[" * 9999]
)
def test_a_file_that_says_nonsense_of_itself_is_refused(said, tmp_path):
    path = saved(network("yolov3"), tmp_path)
    save_file(load_file(path), path, metadata={"hydra_det": said})
    with pytest.raises(InputError, match="expected anchors and classes in what it says of itself"):
        trained_with(path)
