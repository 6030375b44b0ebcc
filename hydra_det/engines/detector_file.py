"""`detector.onnx` and `detector.xml`: a network with its decoding, and its suppression, for programs without us.

What such a program has to know is written in the file: a JSON object under `hydra_det`, which ONNX keeps among its
`metadata_props` and OpenVINO in its `rt_info`.

    raw          raw maps as the network has them; of YOLO coarsest first, [B, A, H, W, 5 + C] each
    decoded      boxes [B, N, 4] xyxy in pixels of the input, not clipped; confidences [B, N, C]
    detections   boxes [K, 4] xyxy, clipped; confidences [K]; labels [K]; of one image, the most certain first
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.engines.onnx_suppression import BOXES, CONFIDENCES, add_suppression
from hydra_det.modules.raw_maps import FlatOutputs, tensors_of
from hydra_det.types import InputError

OUTPUTS = ("raw", "decoded", "detections")
ONNX, OPENVINO = "detector.onnx", "detector.xml"
KEY = "hydra_det"


class Decoded(nn.Module):
    """A detector that answers with every box it has.

    Args:
        network: with `decode`.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> boxes [B, N, 4], confidences [B, N, C]"""
        boxes, confidences = self.network.decode(self.network(images))
        return boxes, confidences


def check_output(output: Any, confidence: Any) -> None:
    """Refuse what is no output, and a confidence that is none."""
    if output not in OUTPUTS:
        raise InputError(f"export.output: expected one of {', '.join(OUTPUTS)}, got {output!r}")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise InputError(f"export.confidence: expected a number between 0 and 1, got {confidence!r}")


def write_detector(
    network: Any, folder: Path, example: Tensor, said: Mapping[str, Any], *, output: str, confidence: float
) -> Path:
    """Write `detector.onnx`.

    Args:
        network: a detector in eval mode, on the CPU; with `decode` where the output is not raw.
        folder: for the file.
        example: an image [1, 3, S, S]; the file takes images of this size, one or, without suppression, any number.
        said: what the file says of itself; plain values.
        output: one of `OUTPUTS`.
        confidence: least one of `detections`.

    Raises:
        InputError: see `check_output`.
    """
    import onnx  # noqa: PLC0415 - an optional package

    check_output(output, confidence)
    file = folder / ONNX
    made = (FlatOutputs if output == "raw" else Decoded)(network).eval()  # the exporter leaves the mode that it finds
    with torch.no_grad():
        count = len(tensors_of(network(example[:1])))
    names = [f"raw_{level}" for level in range(count)] if output == "raw" else [BOXES, CONFIDENCES]
    axes = {} if output == "detections" else {name: {0: "batch"} for name in ("images", *names)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the exporter without dynamo is the older one, and that shapes are fixed
        torch.onnx.export(
            made, (example[:1],), str(file), input_names=["images"], output_names=names, dynamic_axes=axes, dynamo=False
        )
    model = onnx.load(str(file))
    if output == "detections":
        nms = network.nms_settings
        add_suppression(model, size=example.shape[-1], iou=nms.iou, most=nms.max_detections, confidence=confidence)
    onnx.helper.set_model_props(model, {KEY: json.dumps(dict(said), ensure_ascii=False)})
    onnx.save(model, str(file))
    return file


def write_openvino_detector(file: Path) -> Path:
    """`detector.xml` and `.bin` of a `detector.onnx`, with its metadata."""
    import onnx  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    model = openvino.convert_model(str(file))
    said = {entry.key: entry.value for entry in onnx.load(str(file), load_external_data=False).metadata_props}
    model.set_rt_info(said[KEY], KEY)
    target = file.with_name(OPENVINO)
    openvino.save_model(model, str(target), compress_to_fp16=False)
    return target


def answers(file: Path, images: Tensor) -> list[list[Tensor]]:
    """What a `detector.onnx` or `.xml` answers to images [B, 3, S, S], one at a time, in float32."""
    if file.name == ONNX:
        import onnxruntime  # noqa: PLC0415

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return [[torch.from_numpy(part) for part in session.run(None, {"images": image[None].numpy()})]
                for image in images]  # fmt: skip
    import openvino  # noqa: PLC0415

    made = openvino.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = []
    for image in images:
        said = made(image[None].numpy())
        found.append([torch.from_numpy(said[output].copy()) for output in made.outputs])
    return found
