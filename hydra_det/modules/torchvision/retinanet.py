"""RetinaNet (Lin et al. 2017, arXiv 1708.02002): anchors on a feature pyramid, focal loss."""

from collections.abc import Sequence

from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.torchvision.backbones import pyramid
from hydra_det.modules.torchvision.family import ANCHOR_SIZES, check_anchor_sizes, check_classes
from hydra_det.modules.torchvision.one_stage import Anchored


class RetinaNetDetector(Anchored, RetinaNet):
    """Torchvision's RetinaNet with our verbs.

    Args:
        num_classes: C.
        backbone: `resnet18`, `resnet34` or `resnet50`.
        norm: of the backbone: `trained`, or `frozen` at the statistics that are loaded with its weights.
        anchor_sizes: sides in pixels of the smallest anchor of each of the five levels, the finest first; each level
            has three sizes up to 1.6 times as large and three shapes.
        nms: how detections are selected.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = "resnet50",
        norm: str = "trained",
        anchor_sizes: Sequence[float] = ANCHOR_SIZES,
        nms: NmsSettings | None = None,
    ) -> None:
        nms = nms or NmsSettings()
        check_anchor_sizes(anchor_sizes, levels=5)
        made, stride = pyramid(backbone, norm=norm, more=True)
        sizes = tuple(tuple(int(side * 2 ** (step / 3)) for step in range(3)) for side in anchor_sizes)
        RetinaNet.__init__(
            self,
            made,
            check_classes(num_classes),
            anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
            score_thresh=nms.confidence,
            nms_thresh=nms.iou,
            detections_per_img=nms.max_detections,
            topk_candidates=nms.max_candidates,
        )
        self._settle(
            num_classes,
            nms,
            stride=stride,
            entry=Entry(),
            backbone=backbone,
            norm=norm,
            anchor_sizes=list(anchor_sizes),
        )

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """See `OneStage`."""
        classes, boxes = self.head.classification_head, self.head.regression_head
        return [
            *(classes.cls_logits(classes.conv(level)) for level in features),
            *(boxes.bbox_reg(boxes.conv(level)) for level in features),
        ]

    def _losses_of(
        self, outputs: dict[str, Tensor], target: dict[str, Tensor], anchors: Tensor, counts: list[int]
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.compute_loss([target], outputs, [anchors])
        return losses
