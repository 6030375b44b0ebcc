"""What AP loses to first order, against AP itself as pycocotools counts it, and the attack along it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hydra_det.attacks.gradient import PGD
from hydra_det.attacks.momentum import Momentum
from hydra_det.attacks.noise import Noise
from hydra_det.attacks.objectives.average_precision import lost_average_precision
from hydra_det.boxes import Letterbox
from hydra_det.evaluation.coco_map import coco_results
from hydra_det.evaluation.matches import find_matches, mean_precision
from hydra_det.modules.yolo.decode import suppress
from hydra_det.types import Candidates, Detections, InputError, Target

SIZE, CLASSES, OVERLAP = 256, 2, 0.6


class Scene:
    """Images whose objects are found well, badly and twice, some at an edge, beside boxes where nothing is."""

    def __init__(self, images: int = 24) -> None:
        rng = np.random.default_rng(0)
        self.targets, boxes, labels, log_odds = [], [], [], []
        for image in range(images):
            corners = rng.permutation(16)[:9]
            places = np.stack([corners % 4 * 64, corners // 4 * 64], axis=1) + rng.uniform(-12, 20, (9, 2))
            every = np.concatenate([places, places + rng.uniform(20, 40, (9, 2))], axis=1)
            classes, objects = rng.integers(0, CLASSES, 9), rng.integers(0, 4)
            self.targets.append(_target(every[:objects].clip(0, SIZE), classes[:objects], image))
            near = every + rng.normal(0, 3, every.shape)
            again = every[:2] + rng.normal(0, 5, (2, 4))
            boxes.append(np.concatenate([near, again]))
            labels.append(np.concatenate([classes, classes[:2]]))
            found = np.arange(9) < objects
            log_odds.append(np.concatenate([rng.normal(np.where(found, 0.5, -0.5), 1.0), rng.normal(-0.5, 1.0, 2)]))
        self.boxes, self.log_odds = torch.tensor(np.stack(boxes)).float(), torch.tensor(np.stack(log_odds)).float()
        self.labels = torch.tensor(np.stack(labels))

    def candidates(self, moved: Tensor, raised: Tensor) -> Candidates:
        """Boxes moved by [B, N, 4] pixels, log-odds raised by [B, N]."""
        confidences = torch.zeros(*self.labels.shape, CLASSES)
        confidences = confidences.scatter(2, self.labels[..., None], (self.log_odds + raised).sigmoid()[..., None])
        return Candidates((self.boxes + moved).clamp(0, SIZE), confidences)

    def gradient(self, moved: Tensor, raised: Tensor) -> tuple[Tensor, ...]:
        """Of what is lost, by every box and log-odds."""
        parts = moved.clone().requires_grad_(), raised.clone().requires_grad_()
        lost = lost_average_precision(self.candidates(*parts), self.targets, overlap=OVERLAP)
        return torch.autograd.grad(lost.sum(), parts)

    def precision(self, moved: Tensor, raised: Tensor) -> float:
        """AP@[.5:.95] of what suppression leaves."""
        found = suppress(self.candidates(moved, raised), image_size=(SIZE, SIZE), iou=OVERLAP)
        return average_precision(self.targets, found)


def _target(boxes: np.ndarray, labels: np.ndarray, image: int, size: int = SIZE) -> Target:
    return Target(
        boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4), labels=torch.as_tensor(labels),
        image_id=image, letterbox=Letterbox(size=size, height=size, width=size),
    )  # fmt: skip


def average_precision(targets: list[Target], found: list[Detections]) -> float:
    annotations = [
        {"image_id": target["image_id"], "category_id": label, "bbox": [x, y, right - x, below - y]}
        for target in targets
        for (x, y, right, below), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
    ]
    truth = {
        "images": [{"id": target["image_id"]} for target in targets],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, 1)],
        "categories": [{"id": label, "name": str(label)} for label in range(10)],
    }
    results = [
        result
        for target, one in zip(targets, found, strict=True)
        for result in coco_results(target["image_id"], one, range(10))
    ]
    return mean_precision(find_matches(truth, results))


@pytest.mark.parametrize(("pixels", "odds"), [(0.0, 0.5), (1.5, 0.0), (1.5, 0.5)], ids=["confidences", "boxes", "both"])
def test_its_gradient_is_that_of_precision(pixels: float, odds: float) -> None:
    """Along random directions AP falls as the gradient says, both as a mean over places near by: AP goes by steps."""
    scene, generator = Scene(), torch.Generator().manual_seed(0)

    def drawn() -> tuple[Tensor, Tensor]:
        boxes, log_odds = (torch.randn(part.shape, generator=generator) for part in (scene.boxes, scene.log_odds))
        return pixels * boxes, odds * log_odds

    places, said, measured = [drawn() for _ in range(10)], [], []
    gradients = [scene.gradient(*place) for place in places]
    by_box, by_odds = (torch.stack(parts).mean(0) for parts in zip(*gradients, strict=True))
    for _ in range(12):
        shift, rise = drawn()
        said.append(float((by_box * shift).sum() + (by_odds * rise).sum()))
        ends = [[scene.precision(boxes + way * shift, log_odds + way * rise) for way in (-0.5, 0.5)]
                for boxes, log_odds in places]  # fmt: skip
        measured.append(float(np.mean([behind - ahead for behind, ahead in ends])))
    assert np.corrcoef(said, measured)[0, 1] > 0.8
    slope = float(np.dot(said, measured) / np.dot(said, said))
    assert 0.5 < slope < 1.5, "and by as much"


def test_it_is_about_the_precision_that_is_there() -> None:
    scene = Scene()
    nothing = torch.zeros_like(scene.boxes), torch.zeros_like(scene.log_odds)
    lost = -float(lost_average_precision(scene.candidates(*nothing), scene.targets, overlap=OVERLAP).sum())
    # COCO's AP takes the best precision at any higher recall, and classes apart.
    assert lost == pytest.approx(scene.precision(*nothing), abs=0.05)


def test_a_certain_detection_can_still_be_lost() -> None:
    """A right one of 0.9995 with a wrong one just below it: less certain, it is worth less."""
    log_odds = torch.tensor([[7.6, 7.55]]).requires_grad_()
    boxes = torch.tensor([[[10.0, 10, 50, 50], [100, 100, 150, 150]]])
    lost = lost_average_precision(
        Candidates(boxes, log_odds.sigmoid()[..., None]),
        [_target(np.array([[10.0, 10, 50, 50]]), np.array([0]), 0)],
        overlap=OVERLAP,
    )
    (gradient,) = torch.autograd.grad(lost.sum(), log_odds)
    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_only_the_first_to_find_an_object_is_right() -> None:
    """A second box on it, that suppression leaves, stands above the right one of another object, and costs."""
    boxes = torch.tensor([[[0.0, 0, 40, 40], [100, 100, 140, 140], [0, 10, 40, 50]]])
    targets = [_target(np.array([[0.0, 0, 40, 40], [100, 100, 140, 140]]), np.array([0, 0]), 0)]
    once, twice = (
        lost_average_precision(Candidates(boxes, torch.tensor([[[0.9], [0.6], [second]]])), targets, overlap=0.7)
        for second in (0.0, 0.8)
    )
    assert twice > once + 0.05


def test_it_begins_where_its_start_ended() -> None:
    images = torch.full((1, 3, 8, 8), 0.5)
    losses: Any = {"total": lambda x: x.sum((1, 2, 3)), "average_precision": lambda x: -x.sum((1, 2, 3))}
    options: dict[str, Any] = {"epsilon": 0.1, "steps": 1, "largest": 0.01, "smallest": 0.01}
    assert torch.allclose(Momentum(**options)(images, losses), images - 0.001)
    start = PGD(epsilon=0.1, step_size=0.1, steps=1)
    assert torch.allclose(Momentum(start=start, **options)(images, losses), images + 0.1 - 0.001)


def test_gradients_pass_where_they_are_let() -> None:
    scene = Scene(4)
    parts = torch.zeros_like(scene.boxes).requires_grad_(), torch.zeros_like(scene.log_odds).requires_grad_()
    for boxes, confidences in ((True, True), (True, False), (False, True)):
        lost = lost_average_precision(
            scene.candidates(*parts), scene.targets, overlap=OVERLAP, boxes=boxes, confidences=confidences
        )
        found = torch.autograd.grad(lost.sum(), parts, allow_unused=True)
        assert [part is not None and bool(part.any()) for part in found] == [boxes, confidences]


def test_images_without_objects_and_batches_without_any() -> None:
    scene = Scene(4)
    nothing = torch.zeros_like(scene.boxes), torch.zeros_like(scene.log_odds).requires_grad_()
    bare = [_target(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), number) for number in range(4)]
    lost = lost_average_precision(scene.candidates(*nothing), bare, overlap=OVERLAP)
    assert (lost == 0).all()
    mixed = lost_average_precision(scene.candidates(*nothing), [*scene.targets[:3], bare[3]], overlap=OVERLAP)
    assert mixed[3] > 0, "wrong detections lower the precision of the right ones of other images"


def test_momentum_along_it_leaves_less_precision_than_the_loss() -> None:
    """Of a network that is linear in its images: every box and every confidence depends on all pixels a little."""
    scene, generator = Scene(), torch.Generator().manual_seed(0)
    images = torch.rand(len(scene.targets), 3, 8, 8, generator=generator)
    pixels = images[0].numel()
    to_odds = torch.randn(pixels, scene.log_odds.shape[1], generator=generator)
    to_boxes = 3 * torch.randn(pixels, scene.boxes[0].numel(), generator=generator)
    objects = torch.tensor([[n < len(target["labels"]) for n in range(11)] for target in scene.targets])

    def parts(attacked: Tensor) -> tuple[Tensor, Tensor]:
        change = (attacked - images).flatten(1)
        return (change @ to_boxes).view_as(scene.boxes), change @ to_odds

    def total(attacked: Tensor) -> Tensor:
        """Binary cross-entropy of the confidences, and how far the boxes of objects are moved, in a tenth of a side."""
        moved, raised = parts(attacked)
        odds = scene.log_odds + raised
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(odds, objects.float(), reduction="none")
        return entropy.sum(1) + (moved.abs().mean(2) * objects).sum(1) / 3

    losses: Any = {
        "total": total,
        "average_precision": lambda x: lost_average_precision(
            scene.candidates(*parts(x)), scene.targets, overlap=OVERLAP
        ),
    }

    def left(method: Any) -> float:
        attacked = method(images, losses, generator=torch.Generator().manual_seed(0))
        assert (attacked - images).abs().max() <= method.epsilon + 1e-6
        return scene.precision(*parts(attacked))

    options: dict[str, Any] = {"epsilon": 8 / 255}
    clean, noise = scene.precision(*parts(images)), left(Noise(**options))
    start = PGD(step_size=None, steps=20, **options)
    loss, along = left(PGD(step_size=None, steps=40, **options)), left(Momentum(steps=20, start=start, **options))
    assert noise > 0.7 * clean
    assert along < 0.8 * loss < loss < clean
    assert left(Momentum(epsilon=0.0)) == clean


def test_costs_and_what_is_refused() -> None:
    start = PGD(epsilon=0.05, steps=5)
    assert Momentum(epsilon=0.05, steps=7, start=start, restarts=2).cost == (5 + 2 * 7, 2)
    smaller = Momentum(epsilon=0.05, start=start).scaled(0.5)
    assert smaller.start is not None
    assert (smaller.epsilon, smaller.start.epsilon, start.epsilon) == (0.025, 0.025, 0.05)
    for wrong, message in (
        ({"start": PGD(epsilon=0.1)}, "expected an attack in the same ball, linf of 0.05, got one in linf of 0.1"),
        ({"momentum": 1.0}, "attack.momentum"),
        ({"largest": 0.0}, "attack.largest"),
        ({"smallest": 0.5}, "attack.largest"),
        ({"steps": 0}, "attack.steps"),
        ({"objective": "recall"}, "attack.objective"),
    ):
        with pytest.raises(InputError, match=message):
            Momentum(epsilon=0.05, **wrong)
