"""The worst case by its rule, and alarms that a network with hidden gradients sets off."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from hydra_det.attacks.diagnosis import diagnose
from hydra_det.attacks.gradient import FGSM, PGD
from hydra_det.attacks.noise import Noise
from hydra_det.attacks.square import Square
from hydra_det.evaluation.alarms import find_alarms, rise_alarm
from hydra_det.evaluation.coco_map import average_precision
from hydra_det.evaluation.matches import find_matches, mean_precision
from hydra_det.evaluation.robustness import put_together, worst_case

BOXES = {1: [10.0, 10.0, 40.0, 40.0], 2: [20.0, 5.0, 30.0, 50.0]}
TRUTH: dict[str, Any] = {
    "images": [{"id": key, "width": 100, "height": 100} for key in (1, 2, 3)],
    "annotations": [{"image_id": key, "category_id": 7, "bbox": box} for key, box in BOXES.items()],
    "categories": [{"id": 7, "name": "thing"}],
}


def detection(image, *, box=None, score=0.9):
    return {"image_id": image, "category_id": 7, "bbox": box or BOXES[image], "score": score}


MISSED = [50.0, 60.0, 20.0, 20.0]


def many(seed, *, images=12, classes=3):
    """A ground truth, and the detections of some attacks that each hurt other images."""
    generator = np.random.default_rng(seed)
    boxes = generator.uniform(0, 50, (images, 4, 4)).round(1)
    boxes[..., 2:] = boxes[..., 2:] / 2 + 10
    truth: dict[str, Any] = {
        "images": [{"id": 100 + image, "width": 100, "height": 100} for image in range(images)],
        "categories": [{"id": 5 * (k + 1), "name": str(k)} for k in range(classes)],
        "annotations": [
            {"image_id": 100 + image, "category_id": 5 * (1 + int(generator.integers(classes))), "bbox": box.tolist()}
            for image in range(images)
            for box in boxes[image]
        ],
    }
    attacks = {}
    for name in ("a", "b", "c", "d"):
        hurt = dict(enumerate(generator.random(images), start=100))
        attacks[name] = [
            {
                **annotation,
                "bbox": (np.array(annotation["bbox"]) + generator.normal(0, 8 * hurt[annotation["image_id"]], 4))
                .clip(1)
                .tolist(),
                "score": round(float(generator.beta(3, 1 + 4 * hurt[annotation["image_id"]])), 2),
            }
            for annotation in truth["annotations"] * 2
            if generator.random() > 0.5 * hurt[annotation["image_id"]]
        ]
    return truth, attacks


@pytest.mark.parametrize("seed", range(5))
def test_ap_of_matches_is_that_of_pycocotools(seed):
    truth, attacks = many(seed)
    crowd = {"image_id": 101, "category_id": 5, "bbox": [0.0, 0.0, 90.0, 90.0], "iscrowd": 1}
    for annotations in (truth["annotations"], [*truth["annotations"], crowd]):
        here = {**truth, "annotations": annotations}
        for results in attacks.values():
            found = mean_precision(find_matches(here, results))
            assert found == pytest.approx(average_precision(here, results)["map"], abs=1e-12)
    assert mean_precision(find_matches(truth, [])) == 0
    assert mean_precision(find_matches({**truth, "annotations": []}, attacks["a"])) == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_worst_case_is_below_every_single_attack(seed):
    truth, attacks = many(seed)
    single = {name: average_precision(truth, results)["map"] or 0.0 for name, results in attacks.items()}
    found = worst_case(truth, attacks)
    reached = average_precision(truth, put_together(attacks, found.chosen))["map"] or 0.0
    assert reached < 0.9 * min(single.values()), "attacks that hurt different images hurt more together"
    generator = np.random.default_rng(0)
    for _ in range(20):
        drawn = {image: str(generator.choice(list(attacks))) for image in found.chosen}
        assert reached < (average_precision(truth, put_together(attacks, drawn))["map"] or 0.0)


def test_the_best_of_all_choices_is_nearly_found():
    """Three images and two attacks: all eight choices can be tried."""
    for seed in range(6):
        truth, attacks = many(seed, images=3, classes=1)
        two = {name: attacks[name] for name in ("a", "b")}
        choices = [dict(zip((100, 101, 102), chosen, strict=True)) for chosen in product("ab", repeat=3)]
        lowest = min(average_precision(truth, put_together(two, chosen))["map"] or 0.0 for chosen in choices)
        reached = average_precision(truth, put_together(two, worst_case(truth, two).chosen))["map"] or 0.0
        assert reached <= lowest + 0.05


@pytest.mark.parametrize("seed", [7, 8])
def test_no_image_alone_could_do_worse(seed):
    truth, attacks = many(seed)
    chosen = worst_case(truth, attacks).chosen
    reached = average_precision(truth, put_together(attacks, chosen))["map"] or 0.0
    for image, attack in product(chosen, attacks):
        other = average_precision(truth, put_together(attacks, {**chosen, image: attack}))["map"] or 0.0
        assert other >= reached - 1e-12


def test_boxes_that_are_invented_with_little_certainty_are_no_harm():
    """Many wrong boxes below all right ones cost no AP; an attack that loses an object does."""
    clean = [detection(1), detection(2)]
    invented = [*clean, *(detection(3, box=MISSED, score=0.01 * k) for k in range(1, 40))]
    lost = [detection(2), detection(1, score=0.2, box=MISSED)]
    found = worst_case(TRUTH, {"clean": clean, "fabrication": invented, "vanishing": lost})
    assert found.chosen[1] == "vanishing"
    certain = [detection(1, score=0.5), detection(2, score=0.5), detection(3, box=MISSED, score=0.99)]
    assert worst_case(TRUTH, {"clean": clean, "fabrication": certain}).chosen[3] == "fabrication"


def test_contributions_are_about_what_ap_loses_without_the_image():
    pairs = []
    for seed in range(6):
        truth, attacks = many(seed)
        for results in attacks.values():
            everything = mean_precision(find_matches(truth, results))
            for image, worth in worst_case(truth, {"only": results}).contributions["only"].items():
                without = [result for result in results if result["image_id"] != image]
                pairs.append((everything - mean_precision(find_matches(truth, without)), worth))
    lost, worth = np.array(pairs).T
    assert np.abs(lost - worth).mean() < 0.002, "of an AP of about 0.3, over 12 images"
    assert np.corrcoef(lost, worth)[0, 1] > 0.993


@pytest.mark.parametrize("seed", range(60))
def test_it_is_never_above_a_single_attack_however_few_images(seed):
    truth, attacks = many(seed, images=4, classes=2)
    reached = average_precision(truth, put_together(attacks, worst_case(truth, attacks).chosen))["map"] or 0.0
    assert all(reached <= (average_precision(truth, results)["map"] or 0.0) + 1e-9 for results in attacks.values())


def test_nothing_found_and_nothing_there():
    found = worst_case(TRUTH, {"clean": [], "pgd": []})
    assert found.chosen == {1: "clean", 2: "clean", 3: "clean"}, "of equal ones the first"
    empty = {**TRUTH, "annotations": []}
    assert worst_case(empty, {"clean": [detection(1)], "pgd": []}).chosen == {1: "clean", 2: "clean", 3: "clean"}
    results = {
        "a": [detection(1, score=0.1), detection(2, score=0.2)],
        "b": [detection(1, score=0.3), detection(2, score=0.4), detection(1, score=0.5)],
    }
    chosen = {1: "b", 2: "a", 3: "b"}
    assert [result["score"] for result in put_together(results, chosen)] == [0.3, 0.5, 0.2]


QUIET: dict[str, Any] = {
    "attacked": {
        "noise": 0.5, "fgsm": 0.3, "pgd_5": 0.2, "pgd": 0.1, "pgd_doubled": 0.099, "pgd_eight_bit": 0.105,
        "pgd_large": 0.0, "apgd": 0.095, "square": 0.4, "transfer": 0.3,
    },
    "inside": ("noise", "fgsm", "pgd_5", "pgd", "pgd_doubled", "pgd_eight_bit", "apgd", "square", "transfer"),
    "combined": 0.08,
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
        ({"attacked": {"square": 0.05}, "combined": 0.04}, ["square beats gradients"]),
        ({"attacked": {"transfer": 0.05}}, ["transfer beats gradients"]),
        ({"attacked": {"pgd_large": 0.05}}, ["survives a large ball"]),
        ({"attacked": {"pgd_doubled": 0.05}}, ["more steps gain"]),
        ({"attacked": {"apgd": 0.05}}, ["another step size gains"]),
        ({"combined": 0.06}, ["no attack near the worst case"]),
        ({"attacked": {"pgd_eight_bit": 0.2}}, ["rounding saves"]),
    ],
)
def test_every_alarm_has_its_cause(changes, names):
    assert raised(**changes) == names


def test_what_was_not_run_is_not_checked():
    only: dict[str, Any] = {"inside": ["pgd"], "combined": None, "guided": ["pgd"]}
    found = find_alarms(0.5, {"pgd": 0.1}, **only, zero_gradients=0.0, rising=1.0)
    assert [alarm["name"] for alarm in found if alarm["raised"] is not None] == ["zero gradients", "loss not rising"]


def test_a_network_that_finds_nothing_is_not_checked():
    nothing = {**QUIET, "attacked": dict.fromkeys(QUIET["attacked"], 0.0), "combined": 0.0}
    found = find_alarms(0.0, **nothing)
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
        inside = [*guided, "noise", "square"]
        lowest = min(maps[name] for name in inside)
        found = find_alarms(clean, maps, inside=inside, combined=lowest, guided=guided, **seen)
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
