"""Networks as a user would bring them: not of this package, and of another kind."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_det.types import Candidates, Detections, LossTerms, Target

CLASSES = 2
STRIDE = 32


class Winding(nn.Module):
    """A detector of one map: logits of the classes and a box in every cell of 32 pixels.

    No tracer can follow its forward, it has no objectness and does not decode, and one of its terms is its own.
    """

    def __init__(self, num_classes: int = CLASSES, width: int = 8) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.entry = nn.Conv2d(3, width, 3, padding=1)
        self.middle = nn.Sequential(nn.ReLU(), nn.MaxPool2d(STRIDE // 2), nn.Conv2d(width, width, 3, 2, 1))
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU(), nn.Conv2d(width, num_classes + 4, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one map [B, C + 4, H / 32, W / 32]"""
        if float(images.detach().mean()) > 2:  # what is computed depends on the images
            images = images / 2
        return [self.head(self.middle(self.entry(images)))]

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Every cell in a box of an object has its class and that box."""
        (maps,) = raw
        wanted = torch.zeros_like(maps)
        inside = torch.zeros_like(maps[:, 0])
        for image, target in enumerate(targets):
            for box, label in zip(target["boxes"] / STRIDE, target["labels"], strict=True):
                left, top, right, bottom = box.tolist()
                rows = slice(int(top), max(int(top) + 1, round(bottom)))
                columns = slice(int(left), max(int(left) + 1, round(right)))
                wanted[image, label, rows, columns] = 1
                wanted[image, self.num_classes :, rows, columns] = box[:, None, None]
                inside[image, rows, columns] = 1
        split = self.num_classes
        classes = F.binary_cross_entropy_with_logits(maps[:, :split], wanted[:, :split], reduction="none")
        boxes = F.smooth_l1_loss(maps[:, split:], wanted[:, split:], reduction="none").sum(1) * inside
        size = maps[:, split:].square().mean((1, 2, 3))
        return LossTerms(classification=classes.sum((1, 2, 3)), box=boxes.sum((1, 2)), size=0.01 * size)

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """The best class of every cell."""
        boxes, confidences = _decoded(raw[0], self.num_classes)
        answers = []
        for box, confidence in zip(boxes, confidences, strict=True):
            best, labels = confidence.max(1)
            order = best.argsort(descending=True)
            answers.append(Detections(box[order], best[order], labels[order]))
        return answers


class Small(Winding):
    """The same, with a forward that can be followed, and with `decode`."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one map [B, C + 4, H / 32, W / 32]"""
        return [self.head(self.middle(self.entry(images)))]

    def decode(self, raw: Sequence[Tensor]) -> Candidates:
        """Every cell is a candidate."""
        return _decoded(raw[0], self.num_classes)


class Nested(Small):
    """The same, whose raw maps are a tree: the map, and what its head read."""

    def forward(self, images: Tensor) -> Any:
        """[B, 3, H, W] -> {"maps": [B, C + 4, H / 32, W / 32], "aside": ([B, width, H / 32, W / 32],)}"""
        features = self.middle(self.entry(images))
        return {"maps": self.head(features), "aside": (features,)}

    def losses(self, raw: Any, targets: Sequence[Target]) -> LossTerms:
        """As of one map."""
        return super().losses([raw["maps"]], targets)

    def decode(self, raw: Any) -> Candidates:
        """As of one map."""
        return super().decode([raw["maps"]])

    def detections(self, raw: Any) -> list[Detections]:
        """As of one map."""
        return super().detections([raw["maps"]])


def _decoded(maps: Tensor, classes: int) -> Candidates:
    boxes, confidences = STRIDE * maps[:, classes:], maps[:, :classes].sigmoid()
    return Candidates(boxes.flatten(2).transpose(1, 2), confidences.flatten(2).transpose(1, 2))
