"""The check of a user's network: what keeps the protocol passes, every breach is one line that names the verb."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hydra_det.modules.protocol import check_detector
from hydra_det.types import Candidates, Detections, InputError, LossTerms
from tests.modules.example import NETWORKS, assert_untouched, network, snapshot, unsettle

SIZE, CLASSES = 64, 2


class Small(nn.Module):
    """A detector of one map: logits of the classes and a box from every cell of 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = CLASSES
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 32, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, CLASSES + 4, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.body(images)]

    def losses(self, raw: list[Tensor], targets: list[Any]) -> LossTerms:
        (maps,) = raw
        wanted = torch.stack([
            nn.functional.one_hot(target["labels"], CLASSES).amax(0) if len(target["labels"]) else torch.zeros(CLASSES)
            for target in targets
        ])  # fmt: skip
        logits = maps[:, :CLASSES].amax((2, 3))
        found = nn.functional.binary_cross_entropy_with_logits(logits, wanted.to(logits), reduction="none")
        return LossTerms(classification=found.sum(1), box=maps[:, CLASSES:].square().mean((1, 2, 3)))

    def decode(self, raw: list[Tensor]) -> Candidates:
        boxes, confidences = raw[0][:, CLASSES:], raw[0][:, :CLASSES].sigmoid()
        return Candidates(boxes.flatten(2).transpose(1, 2), confidences.flatten(2).transpose(1, 2))

    def detections(self, raw: list[Tensor]) -> list[Detections]:
        boxes, confidences = self.decode(raw)
        answers = []
        for box, confidence in zip(boxes, confidences, strict=True):
            best, labels = confidence.max(1)
            order = best.argsort(descending=True)
            answers.append(Detections(box[order], best[order], labels[order]))
        return answers


def check(net: Any) -> None:
    check_detector(net, num_classes=CLASSES, image_size=SIZE)


def test_what_keeps_the_protocol_passes_and_is_left_as_it_was():
    net = Small()
    unsettle(net)
    before, state = snapshot(net), torch.get_rng_state()
    check(net)
    assert_untouched(net, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_networks_keep_it(name):
    net = network(name)
    check_detector(net, num_classes=net.num_classes, image_size=SIZE)


def scalar(terms: LossTerms) -> LossTerms:
    return LossTerms({name: value.mean() for name, value in terms.items()})


def mixed(terms: LossTerms) -> LossTerms:
    """As with a mean over the objects of the whole batch."""
    return LossTerms({name: value / len(value) for name, value in terms.items()})


# What a method does to what the right one answers, or what stands in its place -> what is said.
BREACHES = [
    ("losses", None, "Small: expected the methods losses and detections, got no losses"),
    ("num_classes", 7, r"Small\.num_classes: expected 2, as many as the data has, got 7"),
    ("forward", lambda maps: maps[0], r"Small\.forward: expected raw maps as a list of tensors, got a tensor"),
    ("forward", lambda maps: {"maps": maps[0]}, r"Small\.forward: expected raw maps as a list of tensors, got dict"),
    ("forward", lambda maps: [maps[0][:1]], r"expected tensors \[2, \.\.\.\] for 2 images, got \[1, 6, 2, 2\]"),
    ("losses", scalar, r"Small\.losses: expected a value per image \[2\] for classification, got a scalar"),
    ("losses", dict, r"expected LossTerms\(box=\.\.\., classification=\.\.\.\), got dict"),
    ("losses", lambda _: LossTerms(), r"expected LossTerms\(box="),
    ("losses", lambda terms: LossTerms(box=terms["box"] * torch.nan), "expected finite values for box, got"),
    ("losses", mixed, "expected the loss of an image whatever the others of its batch are, got"),
    ("losses", lambda terms: LossTerms(box=terms["box"].detach()), "a gradient to the images, got none"),
    ("losses", lambda terms: LossTerms(box=terms["box"] * 0), "expected a gradient to the images, got none"),
    ("detections", lambda found: found[:1], r"Small\.detections: expected a list of 2 Detections, got list of 1"),
    ("detections", lambda found: [tuple(one) for one in found], r"expected Detections\(boxes, confidences, labels\)"),
    ("detections", lambda found: [Detections(*(part.flip(0) for part in one)) for one in found], "another order"),
    ("detections", lambda found: [one._replace(labels=one.labels + 2) for one in found], "labels from 0 to 1, got"),
    ("detections", lambda found: [one._replace(boxes=one.boxes[:, :3]) for one in found], r"expected shapes \[K, 4\]"),
    ("decode", tuple, r"Small\.decode: expected Candidates\(boxes, confidences\), got tuple of 2"),
    ("decode", lambda found: found._replace(confidences=found.confidences[..., :1]),
     r"Small\.decode: expected shapes \[2, N, 4\] and \[2, N, 2\], got"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), BREACHES)
def test_every_breach_is_named(name, change, message):
    net = Small()
    own = getattr(net, name)
    setattr(net, name, (lambda *given: change(own(*given))) if callable(change) else change)
    if name == "decode":
        net.detections = Small().detections  # which decodes by itself
    with pytest.raises(InputError, match=message) as caught:
        check(net)
    assert "\n" not in str(caught.value)
