"""COCO's AP as a MAITE metric for object detection."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from maite.protocols import DatumMetadata, MetricMetadata
from maite.protocols.object_detection import ObjectDetectionTarget
from torch import Tensor
from torchvision.ops import box_convert

from hydra_det.evaluation.coco_map import CocoResult, average_precision, coco_results
from hydra_det.maite.objects import Truth, as_array, as_boxes, as_labels, letterbox_of
from hydra_det.records.record import PROTOCOLS
from hydra_det.types import Detections, InputError

FLOOR = PROTOCOLS["coco"]


class _Seen(NamedTuple):
    """An image of the evaluation that goes on; boxes in pixels of the original."""

    id: Any  # a number or a text
    found: Detections
    annotations: list[dict[str, Any]]  # in COCO's form, but for the image


class MaiteMetric:
    """COCO's AP by pycocotools, as `hydra_det.evaluate` counts it: of detections with a confidence of at least 0.001.

    Predictions and targets have their boxes in pixels of the same image. Where the metadata say by `letterbox` how the
    original was placed in it, AP is counted in the original's pixels. Ground truth of `MaiteDataset` brings the data
    set's own areas and crowd regions; elsewhere areas are those of boxes, and there are no crowds.

    Args:
        index2label: the names of classes by label, such as `dataset.metadata["index2label"]`.
    """

    metadata: MetricMetadata

    def __init__(self, index2label: Mapping[int, str]) -> None:
        self.metadata = MetricMetadata(id="coco_average_precision")
        self.index2label = dict(index2label)
        self._seen: list[_Seen] = []

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen = []

    def update(
        self,
        pred_batch: Sequence[ObjectDetectionTarget],
        target_batch: Sequence[ObjectDetectionTarget],
        metadata_batch: Sequence[DatumMetadata],
        /,
    ) -> None:
        """Take in a batch: what was found in its images, what is in them, and their metadata.

        Raises:
            InputError: a label that has no name.
        """
        for found, truth, metadata in zip(pred_batch, target_batch, metadata_batch, strict=True):
            annotations = self._annotations(truth, metadata)
            if isinstance(truth, Truth):
                for annotation, area in zip(annotations, truth.areas.tolist(), strict=True):
                    annotation["area"] = area
                crowds = self._annotations(truth.crowds, metadata)
                annotations += [annotation | {"iscrowd": 1} for annotation in crowds]
            self._seen.append(_Seen(metadata["id"], self._detections(found, metadata), annotations))

    def compute(self) -> dict[str, Any]:
        """AP in [0, 1] of all that was seen since the last reset: the keys are those of `hydra_det.evaluate`.

        `map` is AP@[.5:.95]; None stands where there are no such objects.
        """
        annotations: list[dict[str, Any]] = []
        results: list[CocoResult] = []
        # By the data set's own ids, as in our evaluation: of equal confidences the first counts first.
        seen = sorted(self._seen, key=lambda one: (isinstance(one.id, str), one.id))
        for number, (_, found, objects) in enumerate(seen, start=1):
            annotations += [annotation | {"image_id": number} for annotation in objects]
            results += coco_results(number, found, category_ids=range(max(self.index2label, default=-1) + 1))
        truth = {
            "images": [{"id": number} for number in range(1, len(seen) + 1)],
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in self.index2label.items()],
        }
        return dict(average_precision(truth, [result for result in results if result["score"] >= FLOOR]))

    def _annotations(self, truth: ObjectDetectionTarget, metadata: DatumMetadata) -> list[dict[str, Any]]:
        boxes = box_convert(_in_original(truth, metadata), "xyxy", "xywh").tolist()
        labels = self._labels(truth, metadata).tolist()
        return [{"category_id": label, "bbox": box} for label, box in zip(labels, boxes, strict=True)]

    def _detections(self, found: ObjectDetectionTarget, metadata: DatumMetadata) -> Detections:
        scores = torch.tensor(as_array(found.scores))
        confidences = scores.amax(1) if scores.ndim == 2 else scores  # [N] of [N, C]
        return Detections(_in_original(found, metadata), confidences, self._labels(found, metadata))

    def _labels(self, target: ObjectDetectionTarget, metadata: DatumMetadata) -> Tensor:
        labels = as_labels(target.labels)
        if unknown := set(labels.tolist()) - self.index2label.keys():
            raise InputError(
                f"image {metadata['id']}: expected the labels that index2label names, got {min(unknown)}; is this the "
                "index2label of the data set and of the model?"
            )
        return labels


def _in_original(target: ObjectDetectionTarget, metadata: DatumMetadata) -> Tensor:
    """Boxes in pixels of the original image. [N, 4] float64"""
    boxes, letterbox = as_boxes(target.boxes), letterbox_of(metadata)
    return boxes if letterbox is None else letterbox.to_original(boxes)
