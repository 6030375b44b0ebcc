"""What a network is worth: its test images once clean and, under an attack, once more, through Lightning's trainer."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
from torch import nn

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.detection_metrics import DetectionMetrics
from hydra_det.callbacks.hardening.adversarial_batch import ATTACKED, CLEAN, AdversarialBatch
from hydra_det.data.datamodule import DetectionData
from hydra_det.evaluation.bootstrap import resampled_precision
from hydra_det.evaluation.coco_map import CocoResult, evaluate_protocols
from hydra_det.evaluation.matches import find_matches
from hydra_det.modules.detector import Detector, check_classes
from hydra_det.modules.masked_conv import make_dense
from hydra_det.records.record import NetworkMetrics
from hydra_det.types import InputError

Results = dict[str, list[CocoResult]]  # of every pass, by its name
MakeTrainer = Callable[[list[pl.Callback]], pl.Trainer]


def evaluate(
    net: nn.Module,
    data: DetectionData,
    attack: Attack | None = None,
    *,
    seed: int = 0,
    make_trainer: MakeTrainer | None = None,
) -> NetworkMetrics:
    """COCO AP of a network on the test images of a data module, clean and, if asked, under an attack.

    Args:
        net: dense or masked; a copy of it is used.
        data: its `test` split is scored, at its `image_size`.
        attack: of the network itself with its own gradients; None: the clean images alone.
        seed: of attacks that draw.
        make_trainer: callbacks -> a trainer with `inference_mode=False`; None: one device, a GPU if there is one.

    Returns:
        `clean` and `attacked` (None without an attack), each by both protocols: `coco` counts detections with a
        confidence of at least 0.001, `paper` those of at least 0.5. AP in [0, 1] by pycocotools, in coordinates of the
        original images.
    """
    if not isinstance(data, DetectionData):
        raise InputError(f"data: expected a data module such as hydra_det.ShapesData(...), got {data!r}")
    if not isinstance(net, nn.Module):
        raise InputError(f"net: expected a network, as of hydra_det.load_run(...).network('pruned'), got {net!r}")
    check_classes(net, data.class_names)
    passes = data.evaluation_passes
    make = make_trainer or _trainer
    try:
        with _quiet():
            _, results = run_passes(copy.deepcopy(net), data, attack, make_trainer=make, seed=seed)
    finally:
        data.evaluation_passes = passes
    return metrics_of(data, results)


def run_passes(
    net: nn.Module,
    data: DetectionData,
    attack: Attack | None,
    *,
    make_trainer: MakeTrainer,
    seed: int,
    source: nn.Module | None = None,
    watchers: Sequence[pl.Callback] = (),
    show: Callable[[str], None] | None = None,
) -> tuple[pl.Trainer, Results]:
    """Let a trainer go over the test images; what it found in each pass, in coordinates of the original images.

    Args:
        net: is made dense in place.
        data: its number of passes is set.
        attack: of the second pass; None: there is one pass only.
        make_trainer: callbacks -> trainer.
        seed: of attacks that draw.
        source: the network that adversarial images are made on; None: `net`.
        watchers: further callbacks; they come first, to know where they are when the others fail.
        show: of `DetectionMetrics`.
    """
    data.evaluation_passes = 1 if attack is None else 2
    metrics = DetectionMetrics(show=show)
    trainer = make_trainer([*watchers, AdversarialBatch(attack, seed=seed, source=source), metrics])
    trainer.test(Detector(make_dense(net)), datamodule=data, verbose=False)
    return trainer, metrics.results


def metrics_of(data: DetectionData, results: Mapping[str, list[CocoResult]], *, bootstrap: int = 0) -> NetworkMetrics:
    """AP of what was found on the test images, by both protocols.

    Args:
        data: that the images are of.
        results: of every pass.
        bootstrap: so many resampled sets of images beside the whole one; 0: none.
    """
    truth = data.ground_truth("test")
    scores = {name: evaluate_protocols(truth, found) for name, found in results.items()}
    if bootstrap:
        for name, found in results.items():
            matches = find_matches(truth, found)
            scores[name]["bootstrap"] = resampled_precision(matches, images=len(truth["images"]), count=bootstrap)
    return NetworkMetrics(clean=scores[CLEAN], attacked=scores.get(ATTACKED))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a trainer says of devices and of its maker's services: its user asked for AP."""
    said = logging.getLogger("pytorch_lightning")
    level = said.level
    said.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`")
            yield
    finally:
        said.setLevel(level)


def _trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
    return pl.Trainer(
        accelerator="auto", devices=1, callbacks=callbacks, inference_mode=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
