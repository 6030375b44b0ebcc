"""ONNX Runtime, and the ONNX files that others read too."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.engines.engine import Forward

ONNX, INT8 = "network.onnx", "network_int8.onnx"


def write_onnx(network: nn.Module, folder: Path, example: Tensor) -> Path:
    """Float32 with any number of images; raw maps are `raw_0`, `raw_1`, ..."""
    file = folder / ONNX
    if not file.exists():
        outputs = [f"raw_{level}" for level in range(len(network(example[:1])))]
        axes = {name: {0: "batch"} for name in ("images", *outputs)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the exporter without dynamo is the older one
            torch.onnx.export(
                network, (example[:1],), str(file), input_names=["images"], output_names=outputs, dynamic_axes=axes,
                dynamo=False,
            )  # fmt: skip
    return file


def write_int8(network: nn.Module, folder: Path, example: Tensor) -> Path:
    """Static quantisation of ONNX Runtime: 8-bit weights per channel, 8-bit maps; the heads stay in float."""
    import onnx  # noqa: PLC0415 - optional packages
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter([{"images": image[None].numpy()} for image in example])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.images, None)

    source, file = write_onnx(network, folder, example), folder / INT8
    if not file.exists():
        whole = _stays_float(list(onnx.load(str(source)).graph.node))
        quantize_static(
            str(source), str(file), Examples(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=whole,
        )  # fmt: skip
    return file


def in_onnxruntime(_network: nn.Module, file: Path | None, threads: int) -> Forward:
    """Forward on the CPU."""
    import onnxruntime  # noqa: PLC0415

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # Threads that wait for work in a loop would slow down whatever runs next.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(raw) for raw in session.run(None, {"images": images.numpy()})]


def _stays_float(nodes: Sequence[Any]) -> list[str]:
    """The heads, whose rounding would be rounding of boxes, and padding with -infinity, which has no range."""
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in nodes:
        after = [reader for name in node.output for reader in readers.get(name, [])]
        if node.op_type == "Pad":
            found += [node.name, *(reader.name for reader in after)]
        elif node.op_type == "Conv" and any(reader.op_type in ("Shape", "Reshape") for reader in after):
            found.append(node.name)
    return found
