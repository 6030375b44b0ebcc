"""How detections are selected, for every family."""

from dataclasses import dataclass

from hydra_det.types import InputError, as_fraction


@dataclass(frozen=True, kw_only=True)
class NmsSettings:
    """Arguments of suppression, as COCO's evaluation needs them: what is lost here is lost to every threshold."""

    confidence: float = 0.001
    iou: float = 0.6
    max_detections: int = 100
    max_candidates: int = 3000

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 0.001:
            raise InputError(f"model.nms.confidence: expected a floor in [0, 0.001] as for COCO, got {self.confidence}")
        if not 0 < self.iou <= 1:
            raise InputError(f"model.nms.iou: expected an overlap in (0, 1], got {as_fraction(self.iou)}")
        if not 100 <= self.max_detections <= self.max_candidates:
            raise InputError(
                "model.nms.max_detections: expected at least 100 as for COCO and at most max_candidates "
                f"({self.max_candidates}), got {self.max_detections}"
            )
