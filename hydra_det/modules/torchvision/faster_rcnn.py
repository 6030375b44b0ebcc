"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid: proposals, and a head that looks at each.

Where an attack meets it: proposals are boxes that the gradient takes as given, so it sees what the network makes of
them, and not how it could move them. The draw of anchors depends on the objects of an image alone: every step of an
attack meets the same ones. So does that of proposals, by their order; but an attack changes what they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.backbones import MOBILENET, pyramid
from hydra_det.modules.torchvision.family import (
    ANCHOR_SIZES,
    Family,
    at_least_float32,
    check_anchor_sizes,
    check_classes,
)
from hydra_det.modules.torchvision.sampling import Sampler, seed_of
from hydra_det.types import Detections, LossTerms, Target

BACKGROUND = 1  # classes before the first one of the data
MAPS = 3  # of each level: features, objectness of its anchors, their boxes


class FasterRCNNDetector(Family, FasterRCNN):
    """Torchvision's Faster R-CNN with our verbs. Its terms: `objectness` and `proposals` of the first stage,
    `classification` and `box` of the second.

    The raw maps are the levels of the pyramid, [B, 256, h, w], then the logits of their anchors, then the boxes of
    these. The second stage is a part of `losses` and `detections`: it looks at boxes that the first one found.

    Args:
        num_classes: C.
        backbone: `resnet18`, `resnet34`, `resnet50` or `mobilenet_v3_large`.
        norm: of the backbone: `trained`, or `frozen` at the statistics that are loaded with its weights.
        anchor_sizes: sides in pixels of the anchors of each of five levels, the finest first; MobileNet, which has
            three levels, has all of them on each.
        sampled: how many proposals of an image train the second stage.
        nms: how detections are selected; `max_candidates` says nothing here: the proposals are at most 1,000, and
            2,000 for losses.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "resnet50",
        norm: str = "trained",
        anchor_sizes: Sequence[float] = ANCHOR_SIZES,
        sampled: int = 512,
        nms: NmsSettings | None = None,
    ) -> None:
        nms = nms or NmsSettings()
        made, stride = pyramid(backbone, norm=norm, more=False)
        levels, pooled = (3, ["0", "1"]) if backbone == MOBILENET else (5, ["0", "1", "2", "3"])
        check_anchor_sizes(anchor_sizes, None if backbone == MOBILENET else levels)
        sizes = (tuple(anchor_sizes),) * levels if backbone == MOBILENET else tuple((side,) for side in anchor_sizes)
        FasterRCNN.__init__(
            self,
            made,
            BACKGROUND + check_classes(num_classes),
            rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * levels),
            box_roi_pool=MultiScaleRoIAlign(featmap_names=pooled, output_size=7, sampling_ratio=2),
            box_score_thresh=nms.confidence,
            box_nms_thresh=nms.iou,
            box_detections_per_img=nms.max_detections,
            box_batch_size_per_image=sampled,
        )
        for part, most in ((self.rpn, None), (self.roi_heads, sampled)):
            usual = part.fg_bg_sampler
            part.fg_bg_sampler = Sampler(usual.batch_size_per_image, usual.positive_fraction, without_objects=most)
        self._settle(
            num_classes,
            nms,
            stride=stride,
            entry=Entry(),
            backbone=backbone,
            norm=norm,
            anchor_sizes=list(anchor_sizes),
            sampled=sampled,
        )
        self.levels = [*pooled, "pool"]
        self.loss_terms = ["classification", "box", "objectness", "proposals"]

    # Torchvision's, of the parent.
    rpn: Any
    roi_heads: Any

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [0, 1], sides multiples of 32 -> raw maps, [B, ..., h, w] each"""
        features = list(self.backbone(self.entry(images)).values())
        logits, boxes = self.rpn.head(features)
        return [*features, *logits, *boxes]

    def applied_beside(self) -> dict[str, int]:
        """How often each layer of the second stage is applied to an image: once for each of its proposals."""
        parts = {"roi_heads.box_head": self.roi_heads.box_head, "roi_heads.box_predictor": self.roi_heads.box_predictor}
        return {
            f"{path}.{name}": self.rpn._post_nms_top_n["testing"]
            for path, part in parts.items()
            for name, module in part.named_modules()
            if isinstance(module, nn.Linear)
        }

    def meaning(self) -> dict[str, Any]:
        """What a program without us has to know to read the raw maps; plain values."""
        return {"parts": ["features", "objectness", "proposals"], "settings": self.settings()}

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Loss terms, one value per image. Raw maps of B images, B targets -> [B] each"""
        labelled = [{"boxes": t["boxes"], "labels": t["labels"] + BACKGROUND} for t in targets]
        seeds = [seed_of(target["boxes"]) for target in targets]
        features, logits, boxes = self._parts(raw)
        with _as_if(training=True, parts=(self.rpn, self.roi_heads)):
            proposals, first = self._first_stage(logits, boxes, self._images(raw), labelled, seeds)
            chosen, classes, wanted = [], [], []
            for proposed, target, seed in zip(proposals, labelled, seeds, strict=True):
                self.roi_heads.fg_bg_sampler.seed = seed
                kept, _, labels, offsets = self.roi_heads.select_training_samples([proposed], [target])
                chosen += kept
                classes += labels
                wanted += list(offsets)
            scores, moves = self._second_stage(features, chosen, raw)
        counts = [len(kept) for kept in chosen]
        second = [
            fastrcnn_loss(score, move, [label], [offset])
            for score, move, label, offset in zip(
                scores.split(counts), moves.split(counts), classes, wanted, strict=True
            )
        ]
        return LossTerms(
            classification=torch.stack([terms[0] for terms in second]),
            box=torch.stack([terms[1] for terms in second]),
            objectness=torch.stack([terms[0] for terms in first]),
            proposals=torch.stack([terms[1] for terms in first]),
        )

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """The boxes of every image, the most certain first."""
        features, logits, boxes = self._parts(raw)
        with _as_if(training=False, parts=(self.rpn, self.roi_heads)):
            proposals, _ = self._first_stage(logits, boxes, self._images(raw))
            scores, moves = self._second_stage(features, proposals, raw)
            sizes = self._images(raw).image_sizes
            found = self.roi_heads.postprocess_detections(scores, moves, proposals, sizes)
        return [Detections(boxes, sure, labels - BACKGROUND) for boxes, sure, labels in zip(*found, strict=True)]

    def _first_stage(
        self,
        logits: list[Tensor],
        boxes: list[Tensor],
        images: ImageList,
        targets: Sequence[dict[str, Tensor]] = (),
        seeds: Sequence[int] = (),
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Proposals of every image [N, 4], and, with targets, what finding them lost: (objectness, boxes)."""
        anchors = self.rpn.anchor_generator(images, logits)
        counts = [level[0].numel() for level in logits]
        batch = len(anchors)
        flat_logits, flat_boxes = concat_box_prediction_layers(logits, boxes)
        with torch.no_grad():
            placed = self.rpn.box_coder.decode(flat_boxes, anchors).view(batch, -1, 4)
            proposals, _ = self.rpn.filter_proposals(placed, flat_logits, images.image_sizes, counts)
        losses = []
        answers = zip(anchors, flat_logits.view(batch, -1, 1), flat_boxes.view(batch, -1, 4), strict=True)
        for target, seed, (own, logit, box) in zip(targets, seeds, answers, strict=False):
            labels, matched = self.rpn.assign_targets_to_anchors([own], [target])
            wanted = self.rpn.box_coder.encode(matched, [own])
            self.rpn.fg_bg_sampler.seed = seed
            losses.append(self.rpn.compute_loss(logit, box, labels, wanted))
        return proposals, losses

    def _second_stage(
        self, features: list[Tensor], proposals: list[Tensor], raw: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, 1 + C] and boxes [N, 4 * (1 + C)] of the proposals of all images."""
        by_name = dict(zip(self.levels, features, strict=True))
        pooled = self.roi_heads.box_roi_pool(by_name, proposals, self._images(raw).image_sizes)
        scores, moves = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return at_least_float32(scores), at_least_float32(moves)

    def _parts(self, raw: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Features, logits and boxes of the levels, float32."""
        count = len(raw) // MAPS
        maps = [at_least_float32(level) for level in raw]
        return maps[:count], maps[count : 2 * count], maps[2 * count :]

    def _images(self, raw: Sequence[Tensor]) -> ImageList:
        """What torchvision wants to know of the images that raw maps are of: their sizes."""
        height, width = (side * self.stride for side in raw[0].shape[-2:])
        batch = len(raw[0])
        return ImageList(raw[0].new_empty(1).expand(batch, 3, height, width), [(height, width)] * batch)


@contextmanager
def _as_if(*, training: bool, parts: Sequence[nn.Module]) -> Iterator[None]:
    """Parts that select as in training, or as in use, whatever mode the network is in; not their layers."""
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = training
        yield
    finally:
        for part, mode in zip(parts, before, strict=True):
            part.training = mode
