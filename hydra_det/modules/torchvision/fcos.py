"""FCOS (Tian et al. 2019, arXiv 1904.01355): a box for every place on a feature pyramid, no anchors, centerness."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.fcos import FCOS

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.backbones import pyramid
from hydra_det.modules.torchvision.family import check_classes
from hydra_det.modules.torchvision.one_stage import BOXES, CLASSES, OneStage

CENTERNESS = "bbox_ctrness"


class FCOSDetector(OneStage, FCOS):
    """Torchvision's FCOS with our verbs. Its third term is `centerness`.

    Args:
        num_classes: C.
        backbone: `resnet18`, `resnet34` or `resnet50`.
        norm: of the backbone: `trained`, or `frozen` at the statistics that are loaded with its weights.
        nms: how detections are selected.
    """

    PARTS = (CLASSES, BOXES, CENTERNESS)
    TERMS: ClassVar[dict[str, str]] = {**OneStage.TERMS, CENTERNESS: "centerness"}

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "resnet50",
        norm: str = "trained",
        nms: NmsSettings | None = None,
    ) -> None:
        nms = nms or NmsSettings()
        made, stride = pyramid(backbone, norm=norm, more=True)
        FCOS.__init__(
            self,
            made,
            check_classes(num_classes),
            score_thresh=nms.confidence,
            nms_thresh=nms.iou,
            detections_per_img=nms.max_detections,
            topk_candidates=nms.max_candidates,
        )
        self._settle(num_classes, nms, stride=stride, entry=Entry(), backbone=backbone, norm=norm)

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """See `OneStage`."""
        classes, boxes = self.head.classification_head, self.head.regression_head
        shared = [boxes.conv(level) for level in features]
        return [
            *(classes.cls_logits(classes.conv(level)) for level in features),
            *(boxes.bbox_reg(level) for level in shared),
            *(boxes.bbox_ctrness(level) for level in shared),
        ]

    def _columns(self) -> dict[str, int]:
        return {**super()._columns(), CENTERNESS: 1}

    def _outputs(self, raw: Sequence[Tensor]) -> dict[str, Tensor]:
        outputs = super()._outputs(raw)
        return outputs | {BOXES: outputs[BOXES].relu()}  # distances, none of them below 0

    def _losses_of(
        self, outputs: dict[str, Tensor], target: dict[str, Tensor], anchors: Tensor, counts: list[int]
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.compute_loss([target], outputs, [anchors], counts)
        return losses

    def _decoded(self, values: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.box_coder.decode(values, anchors)
        return boxes

    def _confidences(self, outputs: dict[str, Tensor]) -> Tensor:
        # sqrt(a * b), by logarithms: the gradient of a root is not finite where the product is 0.
        return torch.exp((F.logsigmoid(outputs[CLASSES]) + F.logsigmoid(outputs[CENTERNESS])) / 2)
