"""The check of a user's network: what keeps the protocol passes, every breach is one line that names the verb."""

from typing import Any

import pytest
import torch

from hydra_det.modules.protocol import check_detector
from hydra_det.types import Detections, InputError, LossTerms
from tests.modules.example import NETWORKS, assert_untouched, network, snapshot, unsettle
from tests.modules.own import CLASSES, Nested, Small, Winding

SIZE = 64


def check(net: Any) -> None:
    check_detector(net, num_classes=CLASSES, image_size=SIZE)


@pytest.mark.parametrize("kind", [Small, Winding, Nested])
def test_what_keeps_the_protocol_passes_and_is_left_as_it_was(kind):
    net = kind()
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


# What a method does to what the right one answers, or what stands in its place -> what is said.
BREACHES = [
    ("losses", None, "Small: expected the methods losses and detections, got no losses"),
    ("num_classes", 7, r"Small\.num_classes: expected 2, as many as the data has, got 7"),
    ("forward", lambda _: [], r"Small\.forward: expected raw maps: a tensor, or lists, .* of them, got list of 0"),
    ("forward", lambda maps: [maps[0], maps[0].round().long()], "expected raw maps of floats, got torch.int64"),
    ("forward", lambda _: {"maps": None}, r"Small\.forward: expected raw maps: .*, got dict"),
    ("forward", lambda maps: {"maps": maps[0], "all": maps[0].sum()}, r"expected tensors \[2, \.\.\.\] .*, got \[\]"),
    ("forward", lambda maps: [maps[0][:1]], r"expected tensors \[2, \.\.\.\] for 2 images, got \[1, 6, 2, 2\]"),
    ("losses", scalar, r"Small\.losses: expected a value per image \[2\] for classification, got a scalar"),
    ("losses", dict, r"expected LossTerms\(box=\.\.\., classification=\.\.\.\), got dict"),
    ("losses", lambda _: LossTerms(), r"expected LossTerms\(box="),
    ("losses", lambda terms: LossTerms(box=terms["box"] * torch.nan), "expected finite values for box, got"),
    ("losses", lambda terms: LossTerms(box=terms["box"].detach()), "a gradient to the images, got none"),
    ("losses", lambda terms: LossTerms(box=terms["box"] * 0), "expected a gradient to the images, got none"),
    ("detections", lambda found: found[:1], r"Small\.detections: expected a list of 2 Detections, got list of 1"),
    ("detections", lambda found: [tuple(one) for one in found], r"expected Detections\(boxes, confidences, labels\)"),
    ("detections", lambda found: [Detections(*(part.flip(0) for part in one)) for one in found], "another order"),
    ("detections", lambda found: [one._replace(labels=one.labels + 2) for one in found], "labels from 0 to 1, got"),
    ("detections", lambda found: [one._replace(labels=one.labels.float()) for one in found], "expected labels of int"),
    ("detections", lambda found: [one._replace(confidences=100 * one.confidences) for one in found],
     "expected confidences from 0 to 1, got"),
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
        setattr(net, "detections", Small().detections)  # noqa: B010 - which decodes by itself
    with pytest.raises(InputError, match=message) as caught:
        check(net)
    assert "\n" not in str(caught.value)


def test_a_loss_that_counts_the_objects_of_the_whole_batch_is_named():
    net = Small()
    own = net.losses

    def losses(raw, targets):
        objects = sum(len(target["labels"]) for target in targets)
        return LossTerms({name: value / max(1, objects) for name, value in own(raw, targets).items()})

    setattr(net, "losses", losses)  # noqa: B010 - a method
    with pytest.raises(InputError, match=r"whatever the others of its batch are, got .* beside one with 20 objects"):
        check(net)


def test_train_mode_must_be_the_same():
    class Habit(Small):
        def forward(self, images):
            raw = super().forward(images)
            return {"maps": raw[0]} if self.training else raw

    with pytest.raises(InputError, match=r"Habit\.forward: .* got dict with tensors \[\[2, 6, 2, 2\]\] for list of 1"):
        check(Habit())


def test_what_a_forward_changes_stays_with_the_copy():
    net = Small().train()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    assert check_detector(net, num_classes=CLASSES, image_size=SIZE) == ["classification", "box", "size"]
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())


def test_objects_of_every_class_and_many_of_them_are_tried():
    seen: list[list[int]] = []

    class Watching(Small):
        def losses(self, raw, targets):
            seen.extend(target["labels"].tolist() for target in targets)
            return super().losses(raw, targets)

    check(Watching())
    assert {label for labels in seen for label in labels} == {0, 1}
    assert max(map(len, seen)) == 20
    assert [] in seen
