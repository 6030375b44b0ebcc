"""The example of a network of one's own: its losses against the formulas of its paper, and the boxes it answers."""

import itertools
import math
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor
from torchvision.ops import box_iou

import hydra_det
from hydra_det.callbacks.hardening.attacked_images import losses_of
from hydra_det.compaction.channels import layout
from hydra_det.types import Target
from tests.modules.example import CLASSES, SIZE, target

SIDE = SIZE // 4  # of the maps
SURE = 20.0  # a logit whose sigmoid is 1 up to 2e-9
TARGETS = [
    target([[10, 14, 30, 50], [33, 7, 61, 22]], [1, 0]),
    target([], []),
    target([[0, 0, 9, 13], [40, 30, 64, 64], [20, 20, 44, 43.5]], [0, 0, 1]),
]


@pytest.fixture
def net(own_network: Any) -> Any:
    torch.manual_seed(0)
    return own_network.MyDetector(CLASSES, width=16).eval()


def perfect(targets: list[Target]) -> list[Tensor]:
    """Raw maps that say what is there and nothing else, cell by cell."""
    heat = torch.full((len(targets), CLASSES, SIDE, SIDE), -SURE)
    size, offset = torch.zeros(2, len(targets), 2, SIDE, SIDE)
    for image, one in enumerate(targets):
        for (left, top, right, bottom), label in zip(one["boxes"].tolist(), one["labels"].tolist(), strict=True):
            x, y = (left + right) / 8, (top + bottom) / 8
            cell = (int(y), int(x))
            heat[image, label][cell] = SURE
            size[image, 0][cell], size[image, 1][cell] = (right - left) / 4, (bottom - top) / 4
            offset[image, 0][cell], offset[image, 1][cell] = x - int(x), y - int(y)
    return [heat, size, offset]


def random_maps(*, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, channels, SIDE, SIDE, generator=generator) for channels in (CLASSES, 2, 2)]


def radius(width: float, height: float) -> float:
    """How far a box may be shifted both ways until it has an overlap of 0.7 with where it was."""

    def excess(shift: float) -> float:
        box = torch.tensor([[0, 0, width, height]], dtype=torch.float64)
        return box_iou(box, box + shift).item() - 0.7

    return float(brentq(excess, 0, min(width, height)))


def by_the_paper(raw: list[Tensor], image: int, one: Target) -> dict[str, float]:
    """Equations 1 to 3 of arXiv 1904.07850 for an image, a cell at a time; alpha 2, beta 4, lambda_size 0.1."""
    heat, size, offset = (maps[image].double().tolist() for maps in raw)
    objects = []
    for (left, top, right, bottom), label in zip(one["boxes"].tolist(), one["labels"].tolist(), strict=True):
        objects.append(((left + right) / 8, (top + bottom) / 8, (right - left) / 4, (bottom - top) / 4, label))
    count, focal = max(1, len(objects)), 0.0
    for label, y, x in itertools.product(range(CLASSES), range(SIDE), range(SIDE)):
        wanted = 0.0
        for centre_x, centre_y, width, height, of in objects:
            if of == label:
                deviation = (2 * radius(width, height) + 1) / 6
                distance = (x - int(centre_x)) ** 2 + (y - int(centre_y)) ** 2
                wanted = max(wanted, math.exp(-distance / (2 * deviation**2)))
        found = 1 / (1 + math.exp(-heat[label][y][x]))
        if wanted == 1:
            focal -= (1 - found) ** 2 * math.log(found)
        else:
            focal -= (1 - wanted) ** 4 * found**2 * math.log(1 - found)
    sizes = offsets = 0.0
    for x, y, width, height, _ in objects:
        column, row = int(x), int(y)
        sizes += abs(size[0][row][column] - width) + abs(size[1][row][column] - height)
        offsets += abs(offset[0][row][column] - (x - column)) + abs(offset[1][row][column] - (y - row))
    return {"classification": focal / count, "box": 0.1 * sizes / count, "offset": offsets / count}


def test_the_losses_are_those_of_the_paper(net: Any) -> None:
    raw = random_maps()
    terms = net.losses(raw, TARGETS)
    assert list(terms) == ["classification", "box", "offset"]
    for image, one in enumerate(TARGETS):
        wanted = by_the_paper(raw, image, one)
        assert {name: value[image].item() for name, value in terms.items()} == pytest.approx(wanted, rel=1e-4)


def test_a_perfect_answer_loses_nothing_and_gives_the_boxes_back(net: Any) -> None:
    raw = perfect(TARGETS)
    terms = net.losses(raw, TARGETS)
    assert terms["box"].max() < 1e-5
    assert terms["offset"].max() < 1e-5
    assert terms["classification"].max() < 1e-5
    for found, one in zip(net.detections(raw), TARGETS, strict=True):
        order = found.boxes[:, 0].argsort(), one["boxes"][:, 0].argsort()
        assert found.labels[order[0]].tolist() == one["labels"][order[1]].tolist()
        assert len(found.boxes) == len(one["boxes"])
        assert (found.boxes[order[0]] - one["boxes"][order[1]]).abs().amax().item() < 1 if len(found.boxes) else True
        assert (found.confidences > 0.99).all()


def test_a_wrong_answer_loses_by_its_part_alone(net: Any) -> None:
    """A size that is off by a cell, an offset by half of one, a peak in another class: each moves its own term."""
    for part, name, amount in ((1, "box", 0.1), (2, "offset", 1.0)):
        raw = perfect(TARGETS)
        raw[part] = raw[part] + 0.5
        terms = net.losses(raw, TARGETS)
        assert terms[name].tolist() == pytest.approx([amount, 0, amount], abs=1e-5), "half a cell in x and in y"
    raw = perfect(TARGETS)
    terms = net.losses([raw[0].flip(1), *raw[1:]], TARGETS)
    assert (terms["classification"] > 10).tolist() == [True, False, True]


def test_the_loss_of_an_image_is_its_own(net: Any) -> None:
    raw = random_maps()
    together = net.losses(raw, TARGETS)
    for image, one in enumerate(TARGETS):
        alone = net.losses([maps[image : image + 1] for maps in raw], [one])
        for name, value in alone.items():
            assert torch.equal(value[0], together[name][image]), name


def test_everything_learns_and_an_attack_finds_a_slope(net: Any) -> None:
    images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    net.train().losses(net(images), TARGETS).total.mean().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().amax(1) > 0).all()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_only_a_local_maximum_of_its_own_class_is_an_object(net: Any) -> None:
    heat = torch.full((1, CLASSES, SIDE, SIDE), -SURE)
    heat[0, 0, 5, 5], heat[0, 0, 5, 6], heat[0, 0, 9, 9], heat[0, 1, 6, 6] = 3.0, 2.0, 1.0, 4.0
    size = torch.full((1, 2, SIDE, SIDE), 20.0)
    size[0, 1] = 2.0
    (found,) = net.detections([heat, size, torch.full((1, 2, SIDE, SIDE), 0.5)])
    assert found.labels.tolist() == [1, 0, 0], "the neighbour of the stronger peak is none"
    assert found.confidences.tolist() == pytest.approx([1 / (1 + math.exp(-logit)) for logit in (4, 3, 1)])
    assert found.boxes.tolist() == [[0, 22, 64, 30], [0, 18, 62, 26], [0, 34, 64, 42]], "80 x 8 pixels, clipped"


def test_suppression_counts_from_the_confidence_that_is_asked_for(net: Any) -> None:
    candidates = net.decode(random_maps())
    assert candidates.boxes.shape == (3, SIDE * SIDE, 4)
    for least in (0.001, 0.5, 0.9):
        found = net.suppress(candidates, (SIZE, SIZE), confidence=least)
        assert sum(len(one.labels) for one in found) == net.count_candidates(candidates, confidence=least)
        assert all((one.confidences >= least).all() for one in found)
    assert net.count_candidates(candidates, confidence=0.5) < net.count_candidates(candidates)


def test_what_decodes_is_attacked_by_its_average_precision() -> None:
    """Without settings of suppression: every candidate of such a network is an answer."""

    class Sure(torch.nn.Module):
        num_classes = CLASSES

        def __init__(self, boxes: list[list[float]]) -> None:
            super().__init__()
            self.boxes = torch.tensor([boxes], dtype=torch.float32)

        def forward(self, images: Tensor) -> list[Tensor]:
            return [images]

        def decode(self, raw: list[Tensor]) -> hydra_det.Candidates:
            certain = torch.tensor([[[0.9, 0.0], [0.8, 0.0]]]) + 0 * raw[0].sum()
            return hydra_det.Candidates(self.boxes, certain)

    images, there = torch.rand(1, 3, SIZE, SIZE), [target([[10, 10, 30, 30], [11, 10, 31, 30]], [0, 0])]
    both = losses_of(Sure([[10, 10, 30, 30], [11, 10, 31, 30]]), there)["average_precision"](images)
    one = losses_of(Sure([[10, 10, 30, 30], [50, 50, 60, 60]]), there)["average_precision"](images)
    assert both.item() < one.item() - 0.2, "the second box counts, though it covers the first"


def test_its_channels_can_be_followed(net: Any) -> None:
    masked = hydra_det.make_masked(net)
    found = layout(masked)
    assert found.groups(), "so that prune=filter_group and budgets of FLOPs work"
    hydra_det.initial_scores(masked)
    hydra_det.prune(masked, 0.5, "filter_group")
    counted = hydra_det.sparsity(masked)
    assert 0.4 < counted["pruned"] / counted["total"] < 0.6
    made = hydra_det.compact(masked)
    assert type(made.network) is type(net)
    assert made.differences["float64"] < 1e-9
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in (made.network, net)]
    assert sizes[0] < 0.6 * sizes[1], "scores and masks left out, half of the weights are gone"
