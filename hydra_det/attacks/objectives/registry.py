"""What an attack raises: functions of what a network says of a batch.

Names follow TOG (Chow et al. 2020, arXiv 2004.04320) where it has one. Each is defined for any detector that gives loss
terms for any ground truth: an attack that hides objects wants the loss of an empty ground truth to be low, one that
invents them wants it to be high. Those of AP and of margins ask a network for more, and are refused where it has none.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hydra_det.attacks.objectives.average_precision import lost_average_precision
from hydra_det.attacks.objectives.ranking import Ranking
from hydra_det.types import Candidates, InputError, LossTerms, Target


class View(Protocol):
    """What a network says of a batch after one forward pass."""

    def losses(self, targets: Sequence[Target]) -> LossTerms:
        """Loss terms for a ground truth. [B] each"""
        ...

    def margins(self, targets: Sequence[Target]) -> Tensor:
        """By how much the objects of every image are found, 0 where none is. [B]"""
        ...

    def candidates(self) -> Candidates:
        """Every box, clipped to the images, with its confidence per class, before suppression."""
        ...

    @property
    def overlap(self) -> float:
        """Of two boxes of a class, above which suppression removes the less certain one."""
        ...


class Reading(NamedTuple):
    """What an objective is a function of."""

    view: View
    targets: Sequence[Target]  # the ground truth
    num_classes: int
    ranking: Ranking | None = None  # of the detections of earlier batches, for what they are worth


Objective = Callable[[Reading], Tensor]  # -> [B], the higher the worse for the detector


def total(reading: Reading) -> Tensor:
    """The detection loss, as in Algorithm 1 of the paper; TOG's untargeted attack."""
    return reading.view.losses(reading.targets).total


def box(reading: Reading) -> Tensor:
    """Boxes in wrong places."""
    return _term(reading.view.losses(reading.targets), "box")


def objectness(reading: Reading) -> Tensor:
    """Objects taken for background and background for objects."""
    return _term(reading.view.losses(reading.targets), "objectness")


def classification(reading: Reading) -> Tensor:
    """Wrong classes."""
    return _term(reading.view.losses(reading.targets), "classification")


def vanishing(reading: Reading) -> Tensor:
    """No objects at all: minus the loss of an empty ground truth, of `_presence`."""
    return -_presence(reading.view.losses(_empty(reading.targets)))


def fabrication(reading: Reading) -> Tensor:
    """Objects everywhere: the loss of an empty ground truth, of `_presence`."""
    return _presence(reading.view.losses(_empty(reading.targets)))


def mislabelling(reading: Reading) -> Tensor:
    """Every object found in its place as one of the next class: minus the loss of that ground truth."""
    if reading.num_classes < 2:
        raise InputError("attack.objective: expected two classes or more for mislabelling, got one")
    wrong = [Target(**{**target, "labels": (target["labels"] + 1) % reading.num_classes}) for target in reading.targets]
    return -reading.view.losses(wrong).total


def margins(reading: Reading) -> Tensor:
    """Minus the margins by which objects are found: 0, its largest value, where all are lost (Carlini and Wagner)."""
    return -reading.view.margins(reading.targets)


def average_precision(
    reading: Reading, *, boxes: bool = True, confidences: bool = True, pooled: bool = False
) -> Tensor:
    """What AP loses, to first order, by moving boxes and by changing confidences."""
    view = reading.view
    return lost_average_precision(
        view.candidates(),
        reading.targets,
        overlap=view.overlap,
        boxes=boxes,
        confidences=confidences,
        pooled=pooled,
        ranking=reading.ranking,
    )


def average_precision_boxes(reading: Reading) -> Tensor:
    """The same by moving boxes alone."""
    return average_precision(reading, confidences=False)


def average_precision_confidences(reading: Reading) -> Tensor:
    """The same by changing confidences alone."""
    return average_precision(reading, boxes=False)


def average_precision_pooled(reading: Reading) -> Tensor:
    """The same as if all objects were of one class in the ranking; steadier where there are few of every class."""
    return average_precision(reading, pooled=True)


TERMS = "terms."  # before the name of a loss term that only some networks have
OBJECTIVES: dict[str, Objective] = {
    "total": total,
    "box": box,
    "objectness": objectness,
    "classification": classification,
    "vanishing": vanishing,
    "fabrication": fabrication,
    "mislabelling": mislabelling,
    "margins": margins,
    "average_precision": average_precision,
    "average_precision_boxes": average_precision_boxes,
    "average_precision_confidences": average_precision_confidences,
    "average_precision_pooled": average_precision_pooled,
}


def objective_of(name: str) -> Objective:
    """The objective of a name: one of `OBJECTIVES`, or `terms.` and the name of a loss term of the network."""
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    return lambda reading: _term(reading.view.losses(reading.targets), name.removeprefix(TERMS))


def check_objective(name: str, *, setting: str = "attack.objective") -> None:
    """Refuse what is no objective. Whether a network has a loss term shows when it is asked for it."""
    if name not in OBJECTIVES and not (isinstance(name, str) and name.startswith(TERMS) and name != TERMS):
        known = f"{', '.join(OBJECTIVES)}, or {TERMS}<name> for another loss term of the network"
        raise InputError(f"{setting}: expected one of {known}, got {name!r}")


def _term(terms: LossTerms, name: str) -> Tensor:
    if name not in terms:
        raise InputError(
            f"attack.objective: expected total or a loss term of the network, which has {', '.join(terms)}, got {name}"
        )
    return terms[name]


def _presence(terms: LossTerms) -> Tensor:
    """The term that says where there are objects: objectness, or classification where background is a class."""
    return _term(terms, "objectness" if "objectness" in terms else "classification")


def _empty(targets: Sequence[Target]) -> list[Target]:
    return [
        Target(
            boxes=torch.zeros_like(target["boxes"][:0]),
            labels=target["labels"][:0],
            image_id=target["image_id"],
            letterbox=target["letterbox"],
        )
        for target in targets
    ]
