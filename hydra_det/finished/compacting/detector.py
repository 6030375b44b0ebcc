"""`detector.onnx` and `detector.xml` of a compact network: what they say of themselves, and the proof of answers."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_det.boxes import PADDING
from hydra_det.compaction.files import Make, load_compact
from hydra_det.engines.detector_file import ONNX, OPENVINO, answers, write_detector, write_openvino_detector
from hydra_det.engines.engine import FLOAT_TOLERANCE
from hydra_det.engines.equal import largest_difference
from hydra_det.finished.compacting.exporting import COMPARED
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.raw_maps import tensors_of
from hydra_det.process.apart import Apart

log = logging.getLogger(__name__)

FILES = (ONNX, OPENVINO, "detector.bin")
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
    make: Make | None = None,
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
        make: of `load_compact`.

    A file that answers something else is removed, and a line says so: the network itself is proved already.

    Raises:
        DiedError: the process is gone.
    """
    images = sample[:COMPARED]
    wanted = expected(network, images, output=output, confidence=confidence)
    found = apart.call(_write_detector, folder, images, output, confidence, openvino, make)
    for file, answers_of in found.items():
        differ = detections_differ if output == "detections" else tensors_differ
        worst = max(differ(one, other) for one, other in zip(wanted, answers_of, strict=True))
        if not worst <= FLOAT_TOLERANCE:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
            log.error(
                "error: export.output: expected %s to answer as torch within %g of the largest value, got a difference "
                "of %.1e; it is left out, take another export.output", file, FLOAT_TOLERANCE, worst,
            )  # fmt: skip
            return
        log.info("%s: %s differ by %.1e of their largest value", file, NAMED[output], worst)


def tensors_differ(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """As a share of the largest value; infinite where shapes differ."""
    if any(want.shape != got.shape for want, got in zip(wanted, found, strict=True)):
        return math.inf
    return largest_difference([want.float() for want in wanted], [got.float() for got in found])


def detections_differ(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of a box, as a share of the largest coordinate, or of its confidence; of boxes by class.

    Each box has the nearest one of its class on the other side. Nearly equally certain boxes may come in another
    order, and where two boxes overlap just as much as they may, either side may keep one more: one of a hundred is
    passed over.
    """
    size = max([float(part[0].abs().max()) for part in (wanted, found) if len(part[0])], default=1.0)
    shares = sorted(share for one, other in ((wanted, found), (found, wanted)) for share in _nearest(one, other, size))
    return shares[-1 - len(shares) // 100] if shares else 0.0


def _nearest(boxes: Sequence[Tensor], others: Sequence[Tensor], size: float) -> Iterator[float]:
    """Of every box its distance to the nearest of the others; infinite where there is none of its class."""
    for box, confidence, label in zip(*boxes, strict=True):
        same = others[2] == label
        apart = (others[0][same] - box).abs().amax(1) / size  # [K]
        apart = torch.maximum(apart, (others[1][same] - confidence).abs())
        yield float(apart.min()) if len(apart) else math.inf


def usual_suppression(network: Any) -> NmsSettings | None:
    """The settings of a network that suppresses as those of hydra_det do; None where it does so in its own way."""
    settings = getattr(network, "nms_settings", None)
    return settings if isinstance(settings, NmsSettings) else None


def described(network: GraphDetector, about: Mapping[str, Any], *, output: str, confidence: float) -> dict[str, Any]:
    """What a program has to know of a file; plain values."""
    meaning: Callable[[], dict[str, Any]] = getattr(network, "meaning", dict)  # somebody else's says nothing of it
    nms = usual_suppression(network)
    said = {
        "version": version("hydra-det"),
        "classes": list(about["classes"]),
        "image_size": about["image_size"],
        "input": "images [batch, 3, image_size, image_size], RGB, float32 in [0, 1]",
        "letterbox": "scaled to fit with its aspect ratio, bilinear with antialiasing, rounded to 8 bits; centred, "
        "left = (image_size - width) // 2, top alike",
        "padding": PADDING,
        "greyscale": bool(about["greyscale"]),
        **meaning(),
        "output": output,
    }
    if nms is not None:
        said["nms"] = {"iou": nms.iou, "max_detections": nms.max_detections}
    return {**said, "least_confidence": confidence} if output == "detections" else said


def expected(network: GraphDetector, images: Tensor, *, output: str, confidence: float) -> list[list[Tensor]]:
    """What torch answers to images, one at a time, where a file of this output answers the same."""
    found = []
    for image in images:
        with torch.no_grad():
            raw = network(image[None])
            if output == "raw":
                found.append(tensors_of(raw))
            elif output == "decoded":
                found.append(list(network.decode(raw)))
            else:
                (seen,) = network.detections(raw)
                kept = seen.confidences >= confidence
                found.append([part[kept] for part in seen])
    return found


def _write_detector(
    folder: Path, images: Tensor, output: str, confidence: float, openvino: bool, make: Make | None
) -> dict[str, list[list[Tensor]]]:
    """Write the files; what each answers."""
    network, about = load_compact(folder, make=make)
    said = described(network, about, output=output, confidence=confidence)
    files = [write_detector(network, folder, images[:1], said, output=output, confidence=confidence)]
    files += [write_openvino_detector(files[0])] if openvino else []
    return {file.name: answers(file, images) for file in files}
