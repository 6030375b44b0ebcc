"""The same network in another reader of Darknet's files: OpenCV's, which was written by others from the same text."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hydra_det.modules.yolo.decode import suppress
from hydra_det.types import Candidates, Detections


class OpenCVDetector(nn.Module):
    """A detector that asks OpenCV for boxes; their suppression is this package's.

    Args:
        cfg: path of the .cfg.
        weights: path of the .weights.
        folder: for a copy of the .cfg that keeps every box.
        levels: (stride, anchors) of the [yolo] sections in the order of the file.
    """

    def __init__(self, cfg: Path, weights: Path, *, folder: Path, levels: list[tuple[int, int]]) -> None:
        cv2 = pytest.importorskip("cv2")
        if not hasattr(cv2.dnn, "readNetFromDarknet"):
            pytest.skip("this OpenCV has no reader of Darknet files")
        super().__init__()
        whole = re.sub(r"^(\s*\[yolo\]\s*)$", r"\1\nthresh=0\nnms_threshold=0\n", cfg.read_text(), flags=re.MULTILINE)
        copy = folder / cfg.name
        copy.write_text(whole)
        self.other: Any = cv2.dnn.readNetFromDarknet(str(copy), str(weights))
        self.other.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self.levels = levels

    def __deepcopy__(self, _memo: object) -> "OpenCVDetector":
        return self

    def forward(self, images: Tensor) -> list[Candidates]:
        """[B, 3, S, S] -> boxes and confidences of every image, anchor by anchor of each level."""
        return [self._one(image[None]) for image in images]

    def detections(self, raw: list[Candidates]) -> list[Detections]:
        """As `YoloDetector.detections`."""
        return [suppress(found, image_size=(self.size, self.size))[0] for found in raw]

    def _one(self, image: Tensor) -> Candidates:
        self.size = image.shape[-1]
        self.other.setInput(image.numpy())
        # cx cy w h in [0, 1], objectness, confidences; cell by cell, where this package goes anchor by anchor.
        rows = np.concatenate(self.other.forward(self.other.getUnconnectedOutLayersNames()))
        parts, start = [], 0
        for stride, anchors in self.levels:
            cells = (self.size // stride) ** 2
            level = rows[start : start + anchors * cells].reshape(cells, anchors, -1)
            parts.append(level.swapaxes(0, 1).reshape(anchors * cells, -1))
            start += anchors * cells
        assert start == len(rows)
        found = torch.from_numpy(np.concatenate(parts).copy())
        half = found[:, 2:4] / 2
        boxes = torch.cat([found[:, :2] - half, found[:, :2] + half], dim=1) * self.size
        return Candidates(boxes[None], found[None, :, 5:])
