"""`detector.onnx` and `detector.xml` of a compact network: what they say of themselves, and the proof of answers."""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_det.boxes import PADDING
from hydra_det.compaction.files import load_compact
from hydra_det.engines.detector_file import answers, write_detector, write_openvino_detector
from hydra_det.engines.engine import FLOAT_TOLERANCE
from hydra_det.finished.compacting.exporting import COMPARED, largest_difference
from hydra_det.modules.graph import GraphDetector
from hydra_det.process.apart import Apart
from hydra_det.types import InputError

log = logging.getLogger(__name__)

NAMED = {"raw": "raw maps", "decoded": "boxes and confidences", "detections": "detections"}


def export_detector(
    folder: Path,
    network: GraphDetector,
    *,
    sample: Tensor,
    output: str,
    confidence: float,
    openvino: bool,
    apart: Apart,
) -> None:
    """`detector.onnx`, and for OpenVINO `detector.xml`, written into the folder of a network and compared with torch.

    Args:
        folder: of the compact network.
        network: the same one.
        sample: [N, 3, S, S], images to compare on.
        output: one of `detector_file.OUTPUTS`.
        confidence: least one of `detections`.
        openvino: whether OpenVINO's files are wanted, too.
        apart: the process of the runtimes.

    Raises:
        InputError: a file answers something else.
        DiedError: the process is gone.
    """
    images = sample[:COMPARED]
    wanted = expected(network, images, output=output, confidence=confidence)
    found = apart.call(_write_detector, folder, images, output, confidence, openvino)
    for file, answers_of in found.items():
        pairs = [pair for one, other in zip(wanted, answers_of, strict=True) for pair in zip(one, other, strict=True)]
        if output == "detections" and any(want.shape != got.shape for want, got in pairs):
            log.warning("%s: a box at the edge of the suppression comes out otherwise than in torch", file)
            continue
        worst = largest_difference(*zip(*((want.float(), got.float()) for want, got in pairs), strict=True))
        if not worst <= FLOAT_TOLERANCE:
            raise InputError(
                f"export.output: expected {file} to answer as torch within {FLOAT_TOLERANCE} of the largest value, got "
                f"a difference of {worst:.1e}; take export.output=raw"
            )
        log.info("%s: %s differ by %.1e of their largest value", file, NAMED[output], worst)


def described(network: GraphDetector, about: Mapping[str, Any], *, output: str, confidence: float) -> dict[str, Any]:
    """What a program has to know of a file; plain values."""
    nms = network.nms_settings
    said = {
        "version": version("hydra-det"),
        "classes": list(about["classes"]),
        "image_size": about["image_size"],
        "input": "images [batch, 3, image_size, image_size], RGB, float32 in [0, 1]",
        "letterbox": "scaled to fit with its aspect ratio, bilinear with antialiasing, rounded to 8 bits; centred, "
        "left = (image_size - width) // 2, top alike",
        "padding": PADDING,
        "greyscale": bool(about["greyscale"]),
        "strides": list(network.strides),
        "anchors": network.anchor_list,
        "confidence": "sigmoid(objectness) * sigmoid(class)",
        "output": output,
        "nms": {"iou": nms.iou, "max_detections": nms.max_detections},
    }
    return {**said, "least_confidence": confidence} if output == "detections" else said


def expected(network: GraphDetector, images: Tensor, *, output: str, confidence: float) -> list[list[Tensor]]:
    """What torch answers to images, one at a time, where a file of this output answers the same."""
    found = []
    for image in images:
        with torch.no_grad():
            raw = network(image[None])
            if output == "raw":
                found.append(list(raw))
            elif output == "decoded":
                found.append(list(network.decode(raw)))
            else:
                (seen,) = network.detections(raw)
                kept = seen.confidences >= confidence
                found.append([part[kept] for part in seen])
    return found


def _write_detector(
    folder: Path, images: Tensor, output: str, confidence: float, openvino: bool
) -> dict[str, list[list[Tensor]]]:
    """Write the files; what each answers."""
    network, about = load_compact(folder)
    said = described(network, about, output=output, confidence=confidence)
    files = [write_detector(network, folder, images[:1], said, output=output, confidence=confidence)]
    files += [write_openvino_detector(files[0])] if openvino else []
    return {file.name: answers(file, images) for file in files}
