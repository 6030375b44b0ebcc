"""The worst case by its rule, and alarms that a network with hidden gradients sets off."""

from typing import Any

import pytest
import torch

from hydra_det.attacks.diagnosis import diagnose
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise
from hydra_det.attacks.square import Square
from hydra_det.evaluation.alarms import find_alarms, rise_alarm
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.evaluation.robustness import image_scores, put_together, worst_attacks

BOXES = {1: [10.0, 10.0, 40.0, 40.0], 2: [20.0, 5.0, 30.0, 50.0]}
TRUTH: dict[str, Any] = {
    "images": [{"id": key, "width": 100, "height": 100} for key in (1, 2, 3)],
    "annotations": [{"image_id": key, "category_id": 7, "bbox": box} for key, box in BOXES.items()],
    "categories": [{"id": 7, "name": "thing"}],
}


def detection(image, *, box=None, score=0.9):
    return {"image_id": image, "category_id": 7, "bbox": box or BOXES[image], "score": score}


def test_an_image_is_worth_what_is_found_minus_what_is_not_there():
    missed = [50.0, 60.0, 20.0, 20.0]
    results = [detection(1), detection(2, box=missed), detection(3, box=missed, score=0.3), detection(3, box=missed)]
    assert image_scores(TRUTH, results) == pytest.approx({1: 0.9, 2: -0.9, 3: -1.2})
    assert image_scores(TRUTH, []) == {1: 0.0, 2: 0.0, 3: 0.0}
    half = [detection(2, box=[20.0, 5.0, 30.0, 40.0])]  # an overlap of 0.8: right at 7 of the 10 thresholds
    assert image_scores(TRUTH, half)[2] == pytest.approx(0.9 * (0.7 - 0.3))
    twice = [detection(1), detection(1, score=0.4)]  # an object is found once
    assert image_scores(TRUTH, twice)[1] == pytest.approx(0.5)


def test_objects_of_a_class_that_is_not_there_count():
    truth = {**TRUTH, "categories": [*TRUTH["categories"], {"id": 8, "name": "other"}]}
    invented: Any = {**detection(1, box=[60.0, 60.0, 20.0, 20.0], score=0.99), "category_id": 8}
    clean = [detection(1), detection(2)]
    scores = {"clean": image_scores(truth, clean), "fabrication": image_scores(truth, [*clean, invented])}
    assert worst_attacks(scores)[1] == "fabrication"
    assert scores["fabrication"][1] == pytest.approx(0.9 - 0.99)


def test_crowds_are_neither_found_nor_missed():
    crowd = {"image_id": 1, "category_id": 7, "bbox": [0.0, 60.0, 90.0, 30.0], "iscrowd": 1}
    truth = {**TRUTH, "annotations": [*TRUTH["annotations"], crowd]}
    within = detection(1, box=[10.0, 65.0, 20.0, 20.0])
    assert image_scores(truth, [detection(1), within])[1] == pytest.approx(0.9)


def test_the_worst_attack_of_every_image_and_the_last_of_equal_ones():
    scores = {"a": {1: 0.5, 2: 0.2, 3: 0.0}, "b": {1: 0.1, 2: 0.3, 3: 0.0}}
    chosen = worst_attacks(scores)
    assert chosen == {1: "b", 2: "a", 3: "b"}
    results = {
        "a": [detection(1, score=0.1), detection(2, score=0.2)],
        "b": [detection(1, score=0.3), detection(2, score=0.4), detection(1, score=0.5)],
    }
    assert [result["score"] for result in put_together(results, chosen)] == [0.3, 0.5, 0.2]


QUIET: dict[str, Any] = {
    "attacked": {
        "noise": 0.5, "fgsm": 0.3, "pgd_5": 0.2, "pgd": 0.1, "pgd_doubled": 0.099, "pgd_eight_bit": 0.105,
        "pgd_large": 0.0, "apgd": 0.095, "square": 0.4, "transfer": 0.3,
    },
    "guided": ("fgsm", "pgd_5", "pgd", "pgd_doubled", "pgd_eight_bit", "apgd"),
    "zero_gradients": 0.0,
    "rising": 1.0,
}  # fmt: skip


def raised(clean=0.5, **changes):
    settings = {**QUIET, **changes, "attacked": {**QUIET["attacked"], **changes.get("attacked", {})}}
    return [alarm["name"] for alarm in find_alarms(clean, **settings) if alarm["raised"]]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"zero_gradients": 0.5}, ["zero gradients"]),
        ({"rising": 0.5}, ["loss not rising"]),
        ({"attacked": {"noise": 0.25}}, ["noise beats FGSM"]),
        ({"attacked": {"pgd_5": 0.08}}, ["fewer steps beat more"]),
        ({"attacked": {"fgsm": 0.08}}, ["fewer steps beat more"]),
        ({"attacked": {"square": 0.05}}, ["square beats gradients"]),
        ({"attacked": {"transfer": 0.05}}, ["transfer beats gradients"]),
        ({"attacked": {"pgd_large": 0.05}}, ["survives a large ball"]),
        ({"attacked": {"pgd_doubled": 0.05}}, ["more steps gain"]),
        ({"attacked": {"apgd": 0.05}}, ["another step size gains"]),
        ({"attacked": {"pgd_eight_bit": 0.2}}, ["rounding saves"]),
    ],
)
def test_every_alarm_has_its_cause(changes, names):
    assert raised(**changes) == names


def test_what_was_not_run_is_not_checked():
    found = find_alarms(0.5, {"pgd": 0.1}, guided=["pgd"], zero_gradients=0.0, rising=1.0)
    assert [alarm["name"] for alarm in found if alarm["raised"] is not None] == ["zero gradients", "loss not rising"]


def test_a_network_that_finds_nothing_is_not_checked():
    found = find_alarms(0.0, dict.fromkeys(QUIET["attacked"], 0.0), guided=QUIET["guided"], zero_gradients=0, rising=1)
    assert [alarm["name"] for alarm in found if alarm["raised"] is not None] == ["zero gradients", "loss not rising"]


@pytest.mark.parametrize(
    ("maps", "is_raised"), [([0.5, 0.3, 0.1], False), ([0.5, 0.2, 0.3], True), ([0.55, 0.1], True)]
)
def test_ap_must_not_rise_with_strength(maps, is_raised):
    assert rise_alarm(0.5, maps)["raised"] is is_raised


class Toy:
    """Finds the only object of every image as long as a pattern outweighs a threshold; optionally through a staircase,
    which hides the gradient."""

    def __init__(self, *, masked):
        self.masked = masked
        patches = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).sign()
        self.pattern = patches.repeat_interleave(4, 1).repeat_interleave(4, 2)
        self.images = torch.stack([(0.5 + strength * self.pattern) for strength in (0.03, 0.04)])

    def strength(self, images):
        seen = (images * 64).round() / 64 if self.masked else images
        return ((seen - 0.5) * self.pattern).mean((1, 2, 3)) - 0.012  # [B]

    def average_precision(self, images):
        found = [detection(key) for key, value in zip((1, 2), self.strength(images), strict=True) if value > 0]
        truth = {**TRUTH, "images": TRUTH["images"][:2]}
        return average_precision(truth, found)["map"]

    def alarms(self, epsilon=0.036):
        losses = {"total": lambda images: -self.strength(images)}
        attacks: dict[str, Any] = {
            "noise": Noise(epsilon=epsilon),
            "fgsm": FGSM(epsilon=epsilon),
            "pgd": PGD(epsilon=epsilon, step_size=0.01),
            "pgd_doubled": PGD(epsilon=epsilon, step_size=0.01, steps=10),
            "pgd_eight_bit": PGD(epsilon=epsilon, step_size=0.01, eight_bit=True),
            "pgd_large": PGD(epsilon=0.25, step_size=0.1),
            "square": Square(epsilon=epsilon, queries=1500),
        }
        maps = {
            name: self.average_precision(attack(self.images, losses, generator=torch.Generator().manual_seed(0)))
            for name, attack in attacks.items()
        }
        diagnosis = diagnose(self.images, losses, region=None, epsilon=epsilon)
        clean = self.average_precision(self.images)
        guided = ["fgsm", "pgd", "pgd_doubled", "pgd_eight_bit"]
        seen = {"zero_gradients": diagnosis.zero_gradients, "rising": diagnosis.rising}
        found = find_alarms(clean, maps, guided=guided, **seen)
        return clean, maps, [alarm["name"] for alarm in found if alarm["raised"]]


def test_a_network_that_hides_its_gradients_sets_off_the_alarms():
    clean, maps, names = Toy(masked=True).alarms()
    assert clean == maps["pgd"] == pytest.approx(1.0), "gradients find nothing"
    assert names == ["zero gradients", "loss not rising", "square beats gradients", "survives a large ball"]


def test_an_honest_network_sets_off_none():
    clean, maps, names = Toy(masked=False).alarms()
    assert clean == pytest.approx(1.0)
    assert maps["pgd"] == maps["pgd_large"] == 0.0
    assert names == []


def test_diagnosis_by_hand():
    images = torch.full((1, 3, 4, 4), 0.5)
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True
    weights = torch.ones(3, 4, 4)
    weights[0] = 0.0  # red is not looked at
    found = diagnose(images, {"total": lambda x: (x * weights).sum((1, 2, 3))}, region=region, epsilon=0.1, steps=4)
    assert found.zero_gradients == pytest.approx(1 / 3)
    torch.testing.assert_close(torch.tensor(found.curve), 16.0 + 0.025 * 16 * torch.arange(5.0), rtol=1e-5, atol=0)
    assert found.rising == 1.0
    flat = diagnose(images, {"total": lambda x: (x * 0).sum((1, 2, 3))}, region=None, epsilon=0.1)
    assert (flat.zero_gradients, flat.rising) == (1.0, 0.0)
