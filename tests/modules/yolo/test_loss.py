"""The loss against a loop over objects and cells, written from the papers."""

import math

import pytest
import torch

from hydra_det.modules.yolo.decode import decode_boxes
from hydra_det.modules.yolo.loss import BOX_LOSSES, LossSettings, assign, assigned_margins, yolo_losses
from hydra_det.types import InputError
from tests.modules.example import target
from tests.modules.yolo.test_decode import overlap, sigmoid

HEIGHT, WIDTH, CLASSES = 64, 96, 3
STRIDES = [32, 16]
ANCHORS = [torch.tensor([[40.0, 30.0], [24.0, 48.0]]), torch.tensor([[8.0, 10.0], [20.0, 14.0]])]
WEIGHTS = {"box_weight": 2.0, "objectness_weight": 3.0, "classification_weight": 5.0}


def random_raw(seed, *, images=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(images, 2, HEIGHT // s, WIDTH // s, 5 + CLASSES) for s in STRIDES]
    return [torch.randn(shape, generator=generator) * 0.7 for shape in shapes]


def random_targets(seed, raw):
    """Objects of all sizes; some of them where the network already answers; the last image is empty."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for image in range(raw[0].shape[0] - 1):
        drawn = []
        for _ in range(4):
            x, y, w, h = torch.rand(4, generator=generator).tolist()
            half_width, half_height = 2 + w * 22, 2 + h * 22
            x, y = half_width + x * (WIDTH - 2 * half_width), half_height + y * (HEIGHT - 2 * half_height)
            drawn.append([x - half_width, y - half_height, x + half_width, y + half_height])
        found = decode_boxes(raw[1].detach(), ANCHORS[1], STRIDES[1])[image, :, 1:3, 2:4].reshape(-1, 4)[::2] + 0.3
        boxes = torch.cat([torch.tensor(drawn), found])
        targets.append(target(boxes, torch.randint(CLASSES, (len(boxes),), generator=generator).tolist()))
    return [*targets, target([], [])]


def losses(raw, targets, **settings):
    return yolo_losses(
        raw, targets, anchors=ANCHORS, strides=STRIDES, scales=[1.0] * len(STRIDES), settings=LossSettings(**settings)
    )


def slow_assign(box, anchor_iou):
    """(level, anchor, row, column) of everything that answers for a box."""
    x1, y1, x2, y2 = box
    fits = {}
    for level, shapes in enumerate(ANCHORS):
        for anchor, (width, height) in enumerate(shapes.tolist()):
            fits[level, anchor] = overlap([0, 0, x2 - x1, y2 - y1], [0, 0, width, height])
            # Both lie with a corner in the origin, which overlaps as much as with a common centre.
    best = max(fits, key=lambda key: fits[key])
    answer = []
    for (level, anchor), fit in fits.items():
        if fit > anchor_iou or (level, anchor) == best:
            stride = STRIDES[level]
            row = min(int((y1 + y2) / 2 / stride), HEIGHT // stride - 1)
            column = min(int((x1 + x2) / 2 / stride), WIDTH // stride - 1)
            answer.append((level, anchor, row, column))
    return answer


def slow_ciou(a, b):
    """Equations 3, 9, 10 and 11 of the paper: overlap, distance of the centres, aspect ratio."""
    iou = overlap(a, b)
    distance = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    angles = math.atan((a[2] - a[0]) / (a[3] - a[1])) - math.atan((b[2] - b[0]) / (b[3] - b[1]))
    aspect = 4 / math.pi**2 * angles**2
    return 1 - iou + distance / diagonal + aspect * aspect / (1 - iou + aspect)


def slow_mse(logits, box, anchor, row, column, stride):
    """Darknet's: squared errors of position within the cell and of log size, small boxes count more."""
    tx, ty, tw, th = logits
    width, height = box[2] - box[0], box[3] - box[1]
    errors = (
        sigmoid(tx) - ((box[0] + box[2]) / 2 / stride - column),
        sigmoid(ty) - ((box[1] + box[3]) / 2 / stride - row),
        tw - math.log(width / anchor[0]),
        th - math.log(height / anchor[1]),
    )
    return sum(error**2 for error in errors) * (2 - width * height / (WIDTH * HEIGHT))


def cross_entropy(logit, wanted):
    return -math.log(sigmoid(logit)) if wanted else -math.log(sigmoid(-logit))


def slow_losses(raw, targets, *, box_loss, ignore_iou, anchor_iou):
    """Per image (box, objectness, classification), and how many cells were ignored."""
    answer, ignored = [], 0
    for image, truth in enumerate(targets):
        maps = [level[image].tolist() for level in raw]
        boxes = [decode_boxes(m[image : image + 1], a, s)[0] for m, a, s in zip(raw, ANCHORS, STRIDES, strict=True)]
        decoded = [level.tolist() for level in boxes]
        responsible = set()
        box_term = class_term = objectness = 0.0
        for box, label in zip(truth["boxes"].tolist(), truth["labels"].tolist(), strict=True):
            for level, anchor, row, column in slow_assign(box, anchor_iou):
                responsible.add((level, anchor, row, column))
                logits = maps[level][anchor][row][column]
                if box_loss == "ciou":
                    box_term += slow_ciou(decoded[level][anchor][row][column], box)
                else:
                    box_term += slow_mse(logits[:4], box, ANCHORS[level][anchor].tolist(), row, column, STRIDES[level])
                class_term += sum(cross_entropy(logits[5 + c], c == label) for c in range(CLASSES))
        for level, anchors in enumerate(maps):
            for anchor, rows in enumerate(anchors):
                for row, cells in enumerate(rows):
                    for column, logits in enumerate(cells):
                        place = (level, anchor, row, column)
                        found = decoded[level][anchor][row][column]
                        near = any(overlap(found, box) > ignore_iou for box in truth["boxes"].tolist())
                        if near and place not in responsible:
                            ignored += 1
                        else:
                            objectness += cross_entropy(logits[4], place in responsible)
        answer.append((box_term, objectness, class_term))
    return answer, ignored


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize(("ignore_iou", "anchor_iou"), [(0.7, 0.4), (0.5, 1.0), (1.0, 0.2)])
def test_loss_is_the_loop(box_loss, ignore_iou, anchor_iou):
    choices = {"box_loss": box_loss, "ignore_iou": ignore_iou, "anchor_iou": anchor_iou}
    raw = random_raw(0)
    targets = random_targets(1, raw)
    expected, ignored = slow_losses(raw, targets, **choices)
    assert (ignored > 0) == (ignore_iou < 1)
    terms = losses(raw, targets, **choices, **WEIGHTS)
    weights = torch.tensor([2.0, 3.0, 5.0])  # box, objectness, classification
    found = torch.stack([terms[name] for name in ("box", "objectness", "classification")], dim=1)
    torch.testing.assert_close(found, torch.tensor(expected) * weights, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms.total, (torch.tensor(expected) * weights).sum(1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("at_once", [1, 2, 7])
def test_loss_is_the_loop_however_few_objects_are_compared_at_once(at_once, monkeypatch):
    monkeypatch.setattr("hydra_det.modules.yolo.loss.OBJECTS_AT_ONCE", at_once)
    raw = random_raw(0)
    targets = random_targets(1, raw)
    first, second, _ = (len(truth["labels"]) for truth in targets)
    assert first % 7  # so a part of seven has objects of two images
    assert first + second > 7
    expected, ignored = slow_losses(raw, targets, box_loss="ciou", ignore_iou=0.5, anchor_iou=1.0)
    assert ignored > 0
    found = losses(raw, targets, box_loss="ciou", ignore_iou=0.5, anchor_iou=1.0)["objectness"]
    torch.testing.assert_close(found, torch.tensor(expected)[:, 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("anchor_iou", [0.2, 0.4, 1.0])
def test_assignment_is_the_loop(anchor_iou):
    raw = random_raw(0)
    targets = random_targets(2, raw)
    # Centres on the right and on the lower edge of the input belong to the last cells.
    targets[0]["boxes"] = torch.cat([targets[0]["boxes"], torch.tensor([[90.0, 10, 102, 22], [10.0, 60, 20, 68]])])
    targets[0]["labels"] = torch.cat([targets[0]["labels"], torch.tensor([0, 2])])
    expected = [
        (image, *place, *box, label)
        for image, truth in enumerate(targets)
        for box, label in zip(truth["boxes"].tolist(), truth["labels"].tolist(), strict=True)
        for place in slow_assign(box, anchor_iou)
    ]
    found = []
    for level, pairs in enumerate(assign(raw, targets, anchors=ANCHORS, strides=STRIDES, anchor_iou=anchor_iou)):
        image, anchor, row, column, boxes, labels = (field.tolist() for field in pairs)
        for k in range(len(image)):
            found.append((image[k], level, anchor[k], row[k], column[k], *boxes[k], labels[k]))
    assert sorted(found) == sorted(expected)
    objects = sum(len(truth["boxes"]) for truth in targets)
    assert (len(found) == objects) == (anchor_iou == 1)


@pytest.mark.parametrize(("anchor_iou", "expected"), [(1.0, [[1], [0]]), (0.4, [[0, 1], [0]])])
def test_an_anchor_of_two_levels_answers_on_both(anchor_iou, expected):
    raw = random_raw(0)
    anchors = [torch.tensor([[40.0, 44.0], [30.0, 30.0]]), torch.tensor([[30.0, 30.0], [8.0, 10.0]])]
    truth = [target([[10.0, 10, 41, 40]], [1]), target([], []), target([], [])]
    found = assign(raw, truth, anchors=anchors, strides=STRIDES, anchor_iou=anchor_iou)
    assert [level.anchor.tolist() for level in found] == expected
    assert [level.row.tolist() for level in found] == [[0] * len(expected[0]), [1]]


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_images_do_not_mix(box_loss):
    raw = [level.requires_grad_() for level in random_raw(0)]
    targets = random_targets(1, raw)
    terms = losses(raw, targets, box_loss=box_loss)
    gradients = torch.autograd.grad(terms.total[0], raw)
    assert all(g[0].abs().sum() > 0 and g[1:].abs().sum() == 0 for g in gradients)
    other = [torch.cat([level[:1], changed[1:]]) for level, changed in zip(raw, random_raw(5), strict=True)]
    after = losses(other, [targets[0], target([[1, 1, 60, 60]], [2]), targets[1]], box_loss=box_loss)
    for left, right in zip(terms.values(), after.values(), strict=True):
        torch.testing.assert_close(right[0], left[0], rtol=1e-6, atol=0)
        assert (right[1:] != left[1:]).all()


def perfect_raw(box, label):
    """Logits that answer with exactly this box, of which only the best anchor is asked."""
    raw = [torch.full_like(level[:1], -20.0) for level in random_raw(0)]
    ((level, anchor, row, column),) = slow_assign(box, 1.0)
    width, height = (size.item() for size in ANCHORS[level][anchor])
    offsets = [((box[i] + box[i + 2]) / 2 / STRIDES[level]) % 1 for i in (0, 1)]
    logits = raw[level][0, anchor, row, column]
    logits[:2] = torch.tensor(offsets).logit()
    logits[2:4] = torch.tensor([(box[2] - box[0]) / width, (box[3] - box[1]) / height]).log()
    logits[4] = logits[5 + label] = 20.0
    return raw


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("box", [[10.0, 12, 52, 40], [41.0, 7, 48, 19]])
def test_a_perfect_answer_costs_nothing(box_loss, box):
    truth = [target([box], [1])]
    terms = losses(perfect_raw(box, 1), truth, box_loss=box_loss, anchor_iou=1.0)
    assert all(0 <= term < 1e-4 for term in terms.values())
    wrong = losses(perfect_raw(box, 2), truth, box_loss=box_loss, anchor_iou=1.0, classification_weight=1.0)
    assert wrong["classification"].item() == pytest.approx(40, rel=1e-3)  # both logits are wrong by 20


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_images_without_objects(box_loss):
    raw = [level.requires_grad_() for level in random_raw(3)]
    terms = losses(raw, [target([], [])] * 3, box_loss=box_loss)
    assert terms["box"].tolist() == terms["classification"].tolist() == [0, 0, 0]
    assert terms["objectness"].isfinite().all()
    for gradient in torch.autograd.grad(terms.total.sum(), raw):
        assert gradient.isfinite().all()
        assert (gradient[..., 4] > 0).all(), "everything is background"
        assert gradient[..., :4].abs().sum() == gradient[..., 5:].abs().sum() == 0


def test_what_answers_well_without_being_asked_is_ignored():
    box = [10.0, 12, 52, 40]
    raw = perfect_raw(box, 1)
    ((level, anchor, row, column),) = slow_assign(box, 1.0)
    assert (level, anchor) == (0, 0)
    other = raw[level][0, 1, row, column]  # the other anchor of the cell gives the same box, and is certain
    other.copy_(raw[level][0, anchor, row, column])
    other[2:4] += (ANCHORS[level][0] / ANCHORS[level][1]).log()
    raw[level][0, :, row, column, 4] = 5.0
    right, wrong = cross_entropy(5, True), cross_entropy(5, False)
    for logits in raw:
        logits.requires_grad_()
    for ignore_iou, cost, ignored in ((0.7, right, True), (1.0, right + wrong, False)):
        terms = losses(raw, [target([box], [1])], ignore_iou=ignore_iou, anchor_iou=1.0)
        assert terms["objectness"].item() == pytest.approx(cost, rel=1e-3)
        gradient = torch.autograd.grad(terms.total.sum(), raw)[level][0, :, row, column, 4]
        assert gradient[0] < 0, "more of what is right"
        assert gradient[1] == 0 if ignored else gradient[1] > 0.9


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_against_the_gradient_the_loss_falls(box_loss):
    raw = [level.requires_grad_() for level in random_raw(0)]
    targets = random_targets(1, raw)
    before = losses(raw, targets, box_loss=box_loss)
    for name, term in before.items():
        gradients = torch.autograd.grad(term.sum(), raw, retain_graph=True)
        slope = sum(g.square().sum() for g in gradients)
        up, down = (
            losses([m + step / slope * g for m, g in zip(raw, gradients, strict=True)], targets, box_loss=box_loss)
            for step in (0.05, -0.05)
        )
        assert down[name].sum() < term.sum() < up[name].sum()
        # The weight of the aspect ratio in `ciou` is a constant to its gradient, as the paper says.
        difference = (up[name].sum() - down[name].sum()).item()
        assert difference == pytest.approx(0.1, rel=0.05 if box_loss == "ciou" and name == "box" else 0.01)


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_half_precision_is_computed_in_float32(box_loss):
    raw = [level.bfloat16() for level in random_raw(0)]
    targets = random_targets(1, [level.float() for level in raw])
    exact = losses([level.float() for level in raw], targets, box_loss=box_loss)
    for left, right in zip(losses(raw, targets, box_loss=box_loss).values(), exact.values(), strict=True):
        assert left.dtype == torch.float32
        assert torch.equal(left, right)


def test_unknown_box_loss_is_refused():
    with pytest.raises(InputError, match="expected one of ciou, mse, got 'giou'"):
        LossSettings(box_loss="giou")


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("size", [(-40.0, -40.0), (0.0, -40.0), (40.0, 40.0), (-40.0, 40.0)])
def test_collapsed_and_exploded_boxes_keep_a_finite_loss_and_gradient(box_loss, size):
    raw = random_raw(0)
    for level in raw:
        level[..., 2:4] = torch.tensor(size)
        level.requires_grad_()
    total = losses(raw, random_targets(1, random_raw(0)), box_loss=box_loss).total
    assert torch.isfinite(total).all()
    for gradient in torch.autograd.grad(total.sum(), raw):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("classes", [1, CLASSES])
def test_margins_are_the_loop(classes):
    """How far the worse of objectness and class is from losing the object, over all anchors that answer for it."""
    raw = [level[..., : 5 + classes] * 3 for level in random_raw(3)]
    targets = [target(t["boxes"], (t["labels"] % classes).tolist()) for t in random_targets(4, raw)]
    expected = [0.0] * len(targets)
    for image, truth in enumerate(targets):
        for box, label in zip(truth["boxes"].tolist(), truth["labels"].tolist(), strict=True):
            for level, anchor, row, column in slow_assign(box, 0.4):
                values = raw[level][image, anchor, row, column].tolist()
                others = [value for c, value in enumerate(values[5:]) if c != label]
                margin = min([values[4], *([values[5 + label] - max(others)] if others else [])])
                expected[image] += max(margin, 0.0)
    found = assigned_margins(raw, targets, anchors=ANCHORS, strides=STRIDES, anchor_iou=0.4)
    assert min(expected[:-1]) > 0
    torch.testing.assert_close(found, torch.tensor(expected))
