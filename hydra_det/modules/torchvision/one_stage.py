"""What torchvision's one-stage detectors share: maps of the heads, losses of each image, detections, candidates."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from hydra_det.modules.torchvision.family import Family, at_least_float32
from hydra_det.types import Candidates, Detections, LossTerms, Target

CLASSES, BOXES = "cls_logits", "bbox_regression"  # torchvision's names of what heads answer


class OneStage(Family):
    """A torchvision detector, which a subclass inherits from beside this one, with our verbs.

    The raw maps are those of the heads before any rearrangement, [B, anchors * values, h, w]: first the logits of the
    classes level by level, then the boxes, then what else there is; the finest level first.

    Of `nms_settings`, `max_candidates` counts per level, with SSD per class.
    """

    PARTS: ClassVar[tuple[str, ...]] = (CLASSES, BOXES)
    # What torchvision calls a loss -> what it is called here.
    TERMS: ClassVar[dict[str, str]] = {"classification": "classification", "bbox_regression": "box"}
    BACKGROUND: ClassVar[int] = 0  # classes before the first one of the data

    # Torchvision's, of the other parent.
    head: Any
    anchor_generator: Any
    box_coder: Any
    postprocess_detections: Any
    compute_loss: Any

    @property
    def loss_terms(self) -> list[str]:
        """The names of the loss terms."""
        return list(self.TERMS.values())

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """What the heads make of the features of the backbone: the raw maps."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1], sides multiples of 32 -> raw maps, [B, anchors * values, h, w] each"""
        return self.maps(list(self.backbone(self.entry(images)).values()))

    def meaning(self) -> dict[str, Any]:
        """What a program without us has to know to read the raw maps; plain values."""
        return {"parts": list(self.PARTS), "background": self.BACKGROUND, "settings": self.settings()}

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Loss terms, one value per image. Raw maps of B images, B targets -> [B] each"""
        outputs, anchors, counts = self._outputs(raw), self._anchors(raw), self._counts(raw)
        found = []
        for image, target in enumerate(targets):
            own = {name: values[image : image + 1] for name, values in outputs.items()}
            labelled = {"boxes": target["boxes"], "labels": target["labels"] + self.BACKGROUND}
            found.append(self._losses_of(own, labelled, anchors, counts))
        return LossTerms({ours: torch.stack([terms[name] for terms in found]) for name, ours in self.TERMS.items()})

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """The boxes of every image, the most certain first."""
        sizes = [self._image_size(raw)] * len(raw[0])
        found = self._postprocessed(self._outputs(raw), self._anchors(raw), sizes, self._counts(raw))
        return [Detections(one["boxes"], one["scores"], one["labels"] - self.BACKGROUND) for one in found]

    def decode(self, raw: Sequence[Tensor]) -> Candidates:
        """Every box with its confidence per class, before suppression."""
        outputs, anchors = self._outputs(raw), self._anchors(raw)
        boxes = self._decoded(outputs[BOXES].flatten(0, 1), anchors.repeat(raw[0].shape[0], 1))
        return Candidates(boxes.view_as(outputs[BOXES]), self._confidences(outputs))

    def _losses_of(
        self, outputs: dict[str, Tensor], target: dict[str, Tensor], anchors: Tensor, counts: list[int]
    ) -> dict[str, Tensor]:
        """Torchvision's losses of one image. Outputs [1, N, ...], anchors [N, 4], how many a level has."""
        raise NotImplementedError

    def _postprocessed(
        self, outputs: dict[str, Tensor], anchors: Tensor, sizes: list[tuple[int, int]], counts: list[int]
    ) -> list[dict[str, Tensor]]:
        """Torchvision's detections; it wants the outputs of every level apart."""
        apart = {name: list(values.split(counts, dim=1)) for name, values in outputs.items()}
        found: list[dict[str, Tensor]] = self.postprocess_detections(
            apart, [list(anchors.split(counts))] * len(sizes), sizes
        )
        return found

    def _decoded(self, values: Tensor, anchors: Tensor) -> Tensor:
        """Boxes of what the head says and of its anchors. [N, 4] each -> [N, 4]"""
        boxes: Tensor = self.box_coder.decode_single(values, anchors)
        return boxes

    def _confidences(self, outputs: dict[str, Tensor]) -> Tensor:
        """[B, N, C] in [0, 1]"""
        return outputs[CLASSES].sigmoid()

    def _columns(self) -> dict[str, int]:
        """How many values an anchor has in each part."""
        return {CLASSES: self.BACKGROUND + self.num_classes, BOXES: 4}

    def _outputs(self, raw: Sequence[Tensor]) -> dict[str, Tensor]:
        """The raw maps as torchvision's losses want them: [B, N, values] by part, float32, levels behind each other."""
        levels, columns = len(raw) // len(self.PARTS), self._columns()
        found = {}
        for place, part in enumerate(self.PARTS):
            maps = raw[place * levels : (place + 1) * levels]
            found[part] = torch.cat([_rows(at_least_float32(level), columns[part]) for level in maps], dim=1)
        return found

    def _counts(self, raw: Sequence[Tensor]) -> list[int]:
        """How many anchors each level has."""
        classes = self._columns()[CLASSES]
        return [maps[0].numel() // classes for maps in raw[: len(raw) // len(self.PARTS)]]

    def _anchors(self, raw: Sequence[Tensor]) -> Tensor:
        """The anchors of an image, all levels. [N, 4] xyxy in pixels"""
        size = self._image_size(raw)
        images = ImageList(raw[0].new_empty(1).expand(1, 3, *size), [size])
        levels = [at_least_float32(maps[:1]) for maps in raw[: len(raw) // len(self.PARTS)]]
        anchors: Tensor = self.anchor_generator(images, levels)[0]
        return anchors

    def _image_size(self, raw: Sequence[Tensor]) -> tuple[int, int]:
        """(height, width) in pixels of the images that raw maps are of."""
        height, width = raw[0].shape[-2:]
        return height * self.stride, width * self.stride


class Anchored(OneStage):
    """One whose loss assigns anchors to objects by their overlap."""

    proposal_matcher: Any

    def evidence(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """The true-class logit, summed over the anchors that the loss assigns to objects. -> [B]"""
        logits, anchors = self._outputs(raw)[CLASSES], self._anchors(raw)
        found = []
        for image, target in zip(logits, targets, strict=True):
            assigned = self._assigned(target["boxes"], anchors)
            chosen = assigned >= 0
            labels = target["labels"][assigned[chosen]] + self.BACKGROUND
            found.append(image[chosen].gather(1, labels[:, None]).sum())
        return torch.stack(found)

    def _assigned(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Which box each anchor is assigned to, below 0 where none. [M, 4], [N, 4] -> [N] int64"""
        if not len(boxes):
            return torch.full((len(anchors),), -1, device=anchors.device)
        assigned: Tensor = self.proposal_matcher(box_iou(boxes, anchors))
        return assigned


def _rows(maps: Tensor, columns: int) -> Tensor:
    """[B, anchors * columns, h, w] -> [B, h * w * anchors, columns]"""
    batch, _, height, width = maps.shape
    return maps.view(batch, -1, columns, height, width).permute(0, 3, 4, 1, 2).reshape(batch, -1, columns)
