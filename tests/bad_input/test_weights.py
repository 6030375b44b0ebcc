"""Files of weights and compact networks that are wrong, a row each."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from hydra_det.compaction.files import WEIGHTS
from tests.bad_input.table import Row, as_parameters, assert_refused
from tests.fuzzing.readers import READERS, complaint, tiny


def floats(change: Callable[[np.ndarray], Any]) -> Callable[[bytes], bytes]:
    """A Darknet file with other values behind its header of 20 bytes."""

    def changed(content: bytes) -> bytes:
        values = np.frombuffer(content[20:], dtype="<f4").copy()
        change(values)
        return content[:20] + values.tobytes()

    return changed


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[bytes], bytes]:
    """A safetensors file with other tensors."""

    def changed(content: bytes) -> bytes:
        found = load(content)
        change(found)
        return save(found)

    return changed


def graph(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], str]:
    """The description of a compact network with something else in it."""

    def changed(content: bytes) -> str:
        found = json.loads(content)
        change(found)
        return json.dumps(found)

    return changed


def first(content: dict[str, Any], operation: str) -> dict[str, Any]:
    """The first node of an operation."""
    return next(node for node in content["nodes"] if node["operation"] == operation)


def saved_by_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save(tiny().state_dict(), buffer)
    return buffer.getvalue()


CHANNELS = next(layer.out_channels for layer in tiny().modules() if isinstance(layer, torch.nn.Conv2d))
VARIANCES = slice(3 * CHANNELS, 4 * CHANNELS)  # of the first layer: bias, scale, mean, variance
SAFETENSORS_HEADER = (2**40).to_bytes(8, "little")

DARKNET = {
    "empty": Row("darknet", b"", "a header of 20 bytes, found 0"),
    "half a header": Row("darknet", b"\0" * 10, "a header of 20 bytes, found 10"),
    "a header alone": Row("darknet", lambda content: content[:20], "found 0, which no number of classes explains"),
    "half a value": Row("darknet", lambda content: content[:-2], "expected whole float32 values"),
    "a value too few": Row("darknet", lambda content: content[:-4], "no number of classes explains"),
    "a value too many": Row("darknet", lambda content: content + b"\0" * 4, "no number of classes explains"),
    "text": Row("darknet", b"[net]\nbatch=64\nsubdivisions=8\n", "the header of a Darknet file"),
    "saved by torch": Row("darknet", lambda _: saved_by_torch(), "the header of a Darknet file"),
    "NaN": Row("darknet", floats(lambda values: values.__setitem__(-1, np.nan)), "expected finite weights"),
    "a negative variance": Row(
        "darknet", floats(lambda values: values.__setitem__(VARIANCES, -1)), "variances of at least 0"),
}  # fmt: skip

SAFETENSORS = {
    "empty": Row("weights", b"", "expected a .safetensors file"),
    "text": Row("weights", b"weights", "expected a .safetensors file"),
    "a header of a terabyte": Row("weights", SAFETENSORS_HEADER + b"{}", "expected a .safetensors file"),
    "cut off": Row("weights", lambda content: content[:-100], "is it truncated?"),
    "pickled": Row("weights", lambda _: pickle.dumps({"a": 1}), "expected a .safetensors file"),
    "saved by torch": Row("weights", lambda _: saved_by_torch(), "expected a .safetensors file"),
    "nothing in it": Row("weights", lambda _: save({}), "found 0"),
    "a tensor too few": Row("weights", tensors(lambda found: found.popitem()), "is missing"),
    "a tensor too many": Row(
        "weights", tensors(lambda found: found.update({"a\nb": torch.ones(1)})), "is not expected"),
    "another shape": Row("weights", tensors(lambda found: found.update({min(found): torch.ones(7, 7)})), "of shape"),
    "whole numbers": Row("weights", tensors(lambda found: [found.update({k: v.long()}) for k, v in found.items()]),
                         "found torch.int64"),
    "NaN": Row("weights", tensors(lambda found: [v.fill_(torch.nan) for v in found.values() if v.is_floating_point()]),
               "expected finite weights"),
}  # fmt: skip

COMPACT = {
    "empty": Row("compact", b"", "got another file or a part of one"),
    "cut off": Row("compact", lambda content: content[:2000], "got another file or a part of one"),
    "nested without end": Row("compact", b"[" * 100_000, "got another file or a part of one"),
    "a list": Row("compact", b"[]", "got another file or a part of one"),
    "another format": Row("compact", graph(lambda found: found.update(format="onnx")), "got onnx of version 1"),
    "another version": Row("compact", graph(lambda found: found.update(version=2)), "of version 2"),
    "no nodes": Row("compact", graph(lambda found: found.update(nodes=[])), "builds no network"),
    "an unknown operation": Row(
        "compact", graph(lambda found: found["nodes"][0].update(operation="eval")), "KeyError: 'eval'"),
    "an unknown input": Row(
        "compact", graph(lambda found: found["nodes"][0].update(inputs=["x"])), "reads x, which is not"),
    "a name of the class": Row(
        "compact", graph(lambda found: found["nodes"][0].update(name="forward")), "builds no network"),
    "a node twice": Row("compact", graph(lambda found: found["nodes"].append(found["nodes"][0])), "is there twice"),
    "an unknown setting": Row(
        "compact", graph(lambda found: found["nodes"][0]["settings"].update(code="x")), "has the settings"),
    "too many channels for any memory": Row(
        "compact", graph(lambda found: first(found, "conv")["settings"].update(out_channels=10**9)), "builds no"),
    "more channels than weights": Row(
        "compact", graph(lambda found: (first(found, "conv")["settings"].update(out_channels=4096),
                                        first(found, "norm")["settings"].update(num_features=4096))), "builds no"),
    "no channels": Row(
        "compact", graph(lambda found: first(found, "conv")["settings"].update(out_channels=0)), "builds no network"),
    "a stride of nothing": Row(
        "compact", graph(lambda found: found["detector"].update(strides=[0, 0])), "builds no network"),
    "a huge stride": Row(
        "compact", graph(lambda found: found["detector"].update(strides=[2**40, 16])), "builds no network"),
    "no classes": Row("compact", graph(lambda found: found["detector"].update(num_classes=0)), "at least 1, got 0"),
    "anchors in words": Row(
        "compact", graph(lambda found: found["detector"].update(anchors="many")), "builds no network"),
    "an unknown loss": Row("compact", graph(lambda found: found["detector"]["loss"].update(box_loss="x")), "box_loss"),
    "an infinite number": Row(
        "compact", lambda content: content.replace(b'"eps": ', b'"eps": 1e400, "x": ', 1), "got another file"),
    "weights cut off": Row("compact_weights", lambda content: content[:-100], "is it truncated?"),
    "weights of another network": Row(
        "compact_weights", lambda _: save({"a": torch.ones(1)}), "tensors of GraphDetector"),
    "weights that are NaN": Row("compact_weights", tensors(
        lambda found: [v.fill_(torch.nan) for v in found.values() if v.is_floating_point()]), "finite weights"),
    "weights saved by torch": Row("compact_weights", lambda _: saved_by_torch(), "expected a .safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("row", as_parameters(DARKNET))
def test_darknet_weights_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(SAFETENSORS))
def test_weights_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(COMPACT))
def test_compact_networks_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize(
    ("name", "file"), [("darknet", "tiny.weights"), ("weights", "net.safetensors"), ("compact", WEIGHTS)]
)
def test_weights_that_are_not_there_are_named(name: str, file: str, tmp_path: Path):
    READERS[name].prepare(tmp_path)
    (tmp_path / file).unlink()
    said = complaint(name, tmp_path)
    assert said is not None
    assert file in said
    assert "found none; check the path" in said
