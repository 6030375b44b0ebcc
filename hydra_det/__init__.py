"""hydra_det: make object detectors small, fast and adversarially robust, and prove it.

    import hydra_det

    run = hydra_det.load_run("outputs/demo")
    found = hydra_det.Predictor.from_run(run)("photo.jpg")

What is offered here is what the scripts themselves use; docs/api.md shows all of it at work. A name is imported when it
is first asked for, so `import hydra_det` takes no time and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_det.attacks import APGD, FGSM, PGD, CarliniWagner, Corruption, Noise, Square, TaskWise
    from hydra_det.callbacks.dead_channels import DeadChannels
    from hydra_det.callbacks.detection_metrics import DetectionMetrics
    from hydra_det.callbacks.freeze import Freeze
    from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
    from hydra_det.callbacks.hardening.attacked_images import attack
    from hydra_det.callbacks.one_shot import prune
    from hydra_det.callbacks.passes import evaluate
    from hydra_det.callbacks.score_init import ScoreInit, initial_scores
    from hydra_det.callbacks.topk_mask import TopKMask
    from hydra_det.compaction.compact import Compacted, compact
    from hydra_det.data.datamodule import DetectionData
    from hydra_det.data.sources import CocoData, KittiData, ShapesData, VocData, YoloData
    from hydra_det.errors import InputError
    from hydra_det.finished.predict import Prediction, Predictor, View
    from hydra_det.finished.run import FinishedRun, load_run
    from hydra_det.init import INITIALISERS
    from hydra_det.modules.detector import Detector
    from hydra_det.modules.masked_conv import make_masked, sparsity
    from hydra_det.modules.protocol import check_detector
    from hydra_det.pipeline.build import build_network
    from hydra_det.pruning.settings import PruneSettings
    from hydra_det.types import Batch, Candidates, Detections, LossTerms, Target

# Where each name is found: the imports above once more, for the moment when they are asked for.
_OFFERED = {
    "hydra_det.attacks": ("APGD", "FGSM", "PGD", "CarliniWagner", "Corruption", "Noise", "Square", "TaskWise"),
    "hydra_det.callbacks.dead_channels": ("DeadChannels",),
    "hydra_det.callbacks.detection_metrics": ("DetectionMetrics",),
    "hydra_det.callbacks.freeze": ("Freeze",),
    "hydra_det.callbacks.hardening.adversarial_batch": ("AdversarialBatch",),
    "hydra_det.callbacks.hardening.attacked_images": ("attack",),
    "hydra_det.callbacks.one_shot": ("prune",),
    "hydra_det.callbacks.passes": ("evaluate",),
    "hydra_det.callbacks.score_init": ("ScoreInit", "initial_scores"),
    "hydra_det.callbacks.topk_mask": ("TopKMask",),
    "hydra_det.compaction.compact": ("Compacted", "compact"),
    "hydra_det.data.datamodule": ("DetectionData",),
    "hydra_det.data.sources": ("CocoData", "KittiData", "ShapesData", "VocData", "YoloData"),
    "hydra_det.errors": ("InputError",),
    "hydra_det.finished.predict": ("Prediction", "Predictor", "View"),
    "hydra_det.finished.run": ("FinishedRun", "load_run"),
    "hydra_det.init": ("INITIALISERS",),
    "hydra_det.modules.detector": ("Detector",),
    "hydra_det.modules.masked_conv": ("make_masked", "sparsity"),
    "hydra_det.modules.protocol": ("check_detector",),
    "hydra_det.pipeline.build": ("build_network",),
    "hydra_det.pruning.settings": ("PruneSettings",),
    "hydra_det.types": ("Batch", "Candidates", "Detections", "LossTerms", "Target"),
}
_HOME = {name: module for module, names in _OFFERED.items() for name in names}

__all__ = [
    "APGD", "FGSM", "INITIALISERS", "PGD", "AdversarialBatch", "Batch", "Candidates", "CarliniWagner", "CocoData",
    "Compacted", "Corruption", "DeadChannels", "DetectionData", "DetectionMetrics", "Detections", "Detector",
    "FinishedRun", "Freeze", "InputError", "KittiData", "LossTerms", "Noise", "Prediction", "Predictor",
    "PruneSettings", "ScoreInit", "ShapesData", "Square", "Target", "TaskWise", "TopKMask", "View", "VocData",
    "YoloData", "attack", "build_network", "check_detector", "compact", "evaluate", "initial_scores", "load_run",
    "make_masked", "prune", "sparsity",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next time it is found at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
