"""SSD (Liu et al. 2016, arXiv 1512.02325) on VGG-16, and SSDlite on MobileNetV3 (Howard et al. 2019, 1905.02244)."""

from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large, vgg16
from torchvision.models.detection._utils import retrieve_out_channels
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead
from torchvision.ops.misc import FrozenBatchNorm2d

from hydra_det.modules.entry import Entry
from hydra_det.modules.nms import NmsSettings
from hydra_det.modules.norms import BatchNorm, L2Norm
from hydra_det.modules.torchvision.backbones import fill, norm_layer
from hydra_det.modules.torchvision.family import check_classes
from hydra_det.modules.torchvision.one_stage import BOXES, CLASSES, Anchored

PROBE = (320, 320)  # pixels: of the image that channels are counted on
# Mean and scale of the weights that torchvision publishes for SSD: Caffe's, in RGB, without a standard deviation.
CAFFE_MEAN, CAFFE_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
HALF = (0.5, 0.5, 0.5)
HARDEST = 100  # boxes of an image without objects that its loss looks at: as many as count for AP


class VggFeatures(SSDFeatureExtractorVGG):
    """Torchvision's features of SSD, with the normalisation of the finest level as a module.

    Args:
        layers: of VGG-16, which it takes over.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__(layers, highres=False)
        self.normalise = L2Norm()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> six levels, the finest first"""
        maps = self.features(images)
        levels = [self.scale_weight.view(1, -1, 1, 1) * self.normalise(maps)]
        for block in self.extra:
            maps = block(maps)
            levels.append(maps)
        return {str(place): level for place, level in enumerate(levels)}


class _Ssd(Anchored, SSD):
    """What SSD and SSDlite share: a background class, boxes that follow the size of the image, a share of negatives."""

    BACKGROUND = 1

    def __init__(
        self,
        backbone: nn.Module,
        boxes: DefaultBoxGenerator,
        *,
        num_classes: int,
        nms: NmsSettings,
        stride: int,
        entry: Entry,
        head: nn.Module | None = None,
        **settings: Any,
    ) -> None:
        SSD.__init__(
            self,
            backbone,
            boxes,
            PROBE,
            1 + check_classes(num_classes),
            head=head,
            score_thresh=nms.confidence,
            nms_thresh=nms.iou,
            detections_per_img=nms.max_detections,
            topk_candidates=nms.max_candidates,
        )
        self._settle(num_classes, nms, stride=stride, entry=entry, **settings)

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """See `OneStage`."""
        classes, boxes = self.head.classification_head.module_list, self.head.regression_head.module_list
        return [
            *(layer(level) for layer, level in zip(classes, features, strict=True)),
            *(layer(level) for layer, level in zip(boxes, features, strict=True)),
        ]

    def _losses_of(
        self, outputs: dict[str, Tensor], target: dict[str, Tensor], anchors: Tensor, counts: list[int]
    ) -> dict[str, Tensor]:
        if not len(target["boxes"]):
            return self._losses_without_objects(outputs)
        assigned = self._assigned(target["boxes"], anchors)
        losses: dict[str, Tensor] = self.compute_loss([target], outputs, [anchors], [assigned])
        return losses

    def _losses_without_objects(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's are 0: negatives are a multiple of positives. Here the hardest weigh like one object's."""
        background = F.log_softmax(outputs[CLASSES][0], dim=-1)[:, 0]
        hardest = (-background).topk(min(HARDEST, len(background))).values
        ratio: Any = self.neg_to_pos_ratio
        return {"classification": ratio * hardest.mean(), "bbox_regression": 0 * outputs[BOXES].sum()}

    def _postprocessed(
        self, outputs: dict[str, Tensor], anchors: Tensor, sizes: list[tuple[int, int]], counts: list[int]
    ) -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = self.postprocess_detections(outputs, [anchors] * len(sizes), sizes)
        return found

    def _confidences(self, outputs: dict[str, Tensor]) -> Tensor:
        return F.softmax(outputs[CLASSES], dim=-1)[..., self.BACKGROUND :]


class SSDDetector(_Ssd):
    """Torchvision's SSD300 on VGG-16 with our verbs, for images of any size from 288 pixels on.

    The sizes of its boxes are shares of the image, so nothing else depends on that size. Of the published weights of
    VGG-16 those of `IMAGENET1K_FEATURES` were trained on such an entry.

    Args:
        num_classes: C.
        nms: how detections are selected.
    """

    def __init__(self, *, num_classes: int, nms: NmsSettings | None = None) -> None:
        boxes = DefaultBoxGenerator(
            [[2], [2, 3], [2, 3], [2, 3], [2], [2]], scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
        )
        super().__init__(
            VggFeatures(vgg16(weights=None).features),
            boxes,
            num_classes=num_classes,
            nms=nms or NmsSettings(),
            stride=8,
            entry=Entry(CAFFE_MEAN, CAFFE_STD, least=288),
        )

    def load_backbone(self, path: Path) -> None:
        """Fill the convolutions of VGG-16 with the weights of a classifier, see `backbones.fill`."""
        features, extra = self.backbone.features, self.backbone.extra[0]
        fill(nn.Sequential(*features, *extra[:-1]), path)


class SSDLiteDetector(_Ssd):
    """Torchvision's SSDlite on MobileNetV3-Large with our verbs, for images of any size.

    Args:
        num_classes: C.
        norm: of the backbone: `trained`, or `frozen` at the statistics that are loaded with its weights; the layers
            behind it are trained.
        reduced_tail: whether the last layers of the backbone have half the channels, as those of torchvision's
            published detector have; its published classifiers have them all.
        nms: how detections are selected.
    """

    def __init__(
        self, *, num_classes: int, norm: str = "trained", reduced_tail: bool = True, nms: NmsSettings | None = None
    ) -> None:
        trained = partial(BatchNorm, eps=0.001, momentum=0.03)
        of_backbone = partial(FrozenBatchNorm2d, eps=0.001) if norm_layer(norm) is FrozenBatchNorm2d else trained
        layers: Any = mobilenet_v3_large(weights=None, norm_layer=of_backbone, reduced_tail=reduced_tail).features
        _start_small(layers)
        fourth = [place for place, block in enumerate(layers) if getattr(block, "_is_cn", False)][-1]
        backbone = SSDLiteFeatureExtractorMobileNet(layers, fourth, trained)
        boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
        channels = retrieve_out_channels(backbone, PROBE)
        super().__init__(
            backbone,
            boxes,
            num_classes=num_classes,
            nms=nms or NmsSettings(),
            stride=16,
            entry=Entry(HALF, HALF),
            head=SSDLiteHead(channels, boxes.num_anchors_per_location(), 1 + num_classes, trained),
            norm=norm,
            reduced_tail=reduced_tail,
        )
        self._layers = (layers,)  # as the classifier names them; a tuple, so that they are not registered twice

    def load_backbone(self, path: Path) -> None:
        """Fill MobileNetV3 with the weights of a classifier, see `backbones.fill`."""
        fill(self._layers[0], path)


def _start_small(layers: nn.Module) -> None:
    """How torchvision starts a backbone of SSDlite that nothing is loaded into."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
