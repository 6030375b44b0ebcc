"""A compact network comes back from its files as it went in; files that are not whole are refused with one line."""

import json
import pickletools
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from hydra_det.compaction import files
from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.files import ARCHITECTURE, WEIGHTS, load_compact, save_compact
from hydra_det.modules.nms import NmsSettings
from hydra_det.types import InputError
from tests.compaction.example import with_masks
from tests.init.example import answering
from tests.modules.example import ARCHITECTURES, batch

ABOUT = {"classes": ["a", "b"], "image_size": 64}


@pytest.fixture
def folder(tmp_path):
    save_compact(tmp_path, compact(with_masks("yolov3_tiny", "filter_group", 0.7)).network, ABOUT)
    return tmp_path


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["filter_group", "random"])
def test_a_network_comes_back_bit_by_bit(tmp_path, name, kind):
    net = with_masks(name, kind, 0.9 if kind == "filter_group" else 0.99)
    net.nms_settings = NmsSettings(iou=0.45)
    made = compact(net).network
    save_compact(tmp_path / "deep" / "folder", made, ABOUT)
    back, about = load_compact(tmp_path / "deep" / "folder")
    assert about == ABOUT
    assert back.graph == made.graph
    assert not back.training
    assert back.nms_settings == NmsSettings(iou=0.45)
    images = batch()["images"]
    with torch.no_grad():
        for wanted, got in zip(made(images), back(images), strict=True):
            assert torch.equal(wanted, got)
    found = [net.detections(net(images)) for net in (made, back)]
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(*found, strict=True))


def test_the_dense_network_fits_into_the_same_form(tmp_path):
    net = answering("yolov3_spp")
    save_compact(tmp_path, as_graph(net), ABOUT)
    back, _ = load_compact(tmp_path)
    images = batch()["images"]
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(net(images), back(images), strict=True))


def test_nothing_in_the_files_can_be_executed(folder):
    assert {path.name for path in folder.iterdir()} == {ARCHITECTURE, WEIGHTS}
    json.loads((folder / ARCHITECTURE).read_text())
    assert not zipfile.is_zipfile(folder / WEIGHTS)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it finds, it is no pickle
        list(pickletools.genops((folder / WEIGHTS).read_bytes()))


def test_it_is_read_without_hydra_and_lightning(folder):
    code = (
        "import sys; from hydra_det.compaction.files import load_compact; load_compact(sys.argv[1]);"
        "sys.exit(bool({'hydra', 'omegaconf', 'pytorch_lightning'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def change(folder, edit):
    content = json.loads((folder / ARCHITECTURE).read_text())
    edit(content)
    (folder / ARCHITECTURE).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda c: c.update(version=2), "of version 1, got hydra_det compact network of version 2"),
        (lambda c: c.update(format="recipe"), "expected a hydra_det compact network of version 1, got recipe"),
        (lambda c: c.pop("version"), "got another file or a part of one"),
        (lambda c: c.pop("nodes"), "builds no network (KeyError: 'nodes')"),
        (lambda c: c["nodes"].pop(4), "which is not computed before it"),
        (lambda c: c["nodes"][0].update(operation="magic"), "builds no network (KeyError: 'magic')"),
        (lambda c: c.pop("about"), "got another file or a part of one"),
        (lambda c: c["nodes"].append(c["nodes"][-1]), "is there twice"),
        (lambda c: c["outputs"].append("nothing"), "are not one for each stride"),
        (lambda c: c["outputs"].pop(), "are not one for each stride"),
        (lambda c: c["nodes"][0]["settings"].update(out_channels=-5), "builds no network"),
        (lambda c: c["nodes"][0]["settings"].pop("stride"), "has the settings"),
        (lambda c: c["nodes"][0]["settings"].update(output_padding=2), "has the settings"),
        (lambda c: c["nodes"][0]["settings"].update(groups=2), "builds no network (ValueError: in_channels must be"),
        (lambda c: c["nodes"][1]["settings"].update(groups=1), "has the settings"),
        (lambda c: c["detector"].update(scales=["a", 1]), "builds no network"),
        (lambda c: c["detector"].update(scales=[1.0]), "builds no network"),
        (lambda c: c.update(outputs=["images", "images"]), "builds no network (KeyError: 'images')"),
        (lambda c: c.update(outputs=[c["outputs"][0]] * 2), "a raw map is"),
        (lambda c: c["nodes"][0].update(inputs=["images", "images"]), "builds no network (TypeError"),
        (lambda c: c["detector"].update(num_classes=7), "a raw map is"),
        (lambda c: c["detector"].update(strides=["a", "b"]), "builds no network (TypeError"),
        (lambda c: c["detector"].update(strides=[0, 0]), "builds no network"),
        (lambda c: c["detector"]["nms"].update(confidence=0.5), "model.nms.confidence"),
        (lambda c: c["detector"].update(anchors=[[1, 1]]), "model.anchors"),
        (lambda c: c["nodes"][0]["settings"].update(out_channels=5), "running_mean should contain 5 elements not 4"),
    ],
)
def test_a_description_that_is_not_whole_is_refused(folder, edit, complaint):
    change(folder, edit)
    with pytest.raises(InputError) as caught:
        load_compact(folder)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_tensor_is_named(folder):
    tensors = load_file(folder / WEIGHTS)
    del tensors["neck.conv.weight"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"weights\.safetensors: expected .* tensors .*neck\.conv\.weight is missing"):
        load_compact(folder)


def test_weights_that_are_no_numbers_are_named(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors["neck.conv.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"weights\.safetensors: expected finite weights, .* neck\.conv\.weight"):
        load_compact(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe"])
def test_what_is_no_description_is_refused(folder, content):
    (folder / ARCHITECTURE).write_bytes(content)
    with pytest.raises(InputError, match=r"architecture\.json: expected"):
        load_compact(folder)


@pytest.mark.parametrize("missing", [ARCHITECTURE, WEIGHTS])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=missing):
        load_compact(folder)


def test_a_truncated_file_of_weights_is_named(folder):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is it truncated"):
        load_compact(folder)


def test_a_good_description_is_not_blamed_for_want_of_memory(folder, monkeypatch):
    made = files.GraphDetector.from_settings

    def detector(*arguments):
        if torch.empty(0).device.type == "meta":
            return made(*arguments)
        raise MemoryError

    monkeypatch.setattr(files.GraphDetector, "from_settings", detector)
    with pytest.raises(MemoryError):
        load_compact(folder)
