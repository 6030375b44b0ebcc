"""How far two answers are apart: against the formulas written out, and what it must not punish."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torchvision.ops import complete_box_iou_loss

from hydra_det.modules.yolo.disagreement import yolo_disagreement
from hydra_det.modules.yolo.loss import LossSettings
from tests.modules.example import network

ANCHORS = [torch.tensor([[10.0, 14.0], [20.0, 12.0]])]
SETTINGS = LossSettings(box_weight=2.0, objectness_weight=0.5, classification_weight=3.0)


def apart(first, second):
    return yolo_disagreement([first], [second], anchors=ANCHORS, strides=[8], scales=[1.0], settings=SETTINGS)


def maps(seed):
    return torch.randn(2, 2, 3, 3, 5 + 3, generator=torch.Generator().manual_seed(seed))


def test_is_the_formula_written_out():
    first, second = maps(0), maps(1)
    found = apart(first, second)
    box, objectness, classes = torch.zeros(2), torch.zeros(2), torch.zeros(2)
    for image in range(2):
        for anchor in range(2):
            for row in range(3):
                for column in range(3):
                    one, two = first[image, anchor, row, column], second[image, anchor, row, column]
                    divergence = kl_divergence(Bernoulli(logits=one[4:]), Bernoulli(logits=two[4:]))
                    certainty = one[4].sigmoid()
                    objectness[image] += divergence[0]
                    classes[image] += certainty * divergence[1:].sum()
                    corners = []
                    for cell in (two, one):
                        centre = (cell[:2].sigmoid() + torch.tensor([column, row])) * 8
                        half = cell[2:4].exp() * ANCHORS[0][anchor] / 2
                        corners.append(torch.cat([centre - half, centre + half]))
                    box[image] += certainty * complete_box_iou_loss(*corners)
    torch.testing.assert_close(found["box"], 2.0 * box, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["objectness"], 0.5 * objectness, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["classification"], 3.0 * classes, rtol=1e-4, atol=1e-4)


def test_equal_answers_do_not_disagree():
    first = maps(0)
    for term in apart(first, first.clone()).values():
        torch.testing.assert_close(term, torch.zeros(2), rtol=0, atol=1e-4)


def test_what_is_no_object_has_no_box_and_no_class():
    first, second = maps(0), maps(0)
    first[..., 4] = second[..., 4] = -30.0
    second[..., :4] += 1
    second[..., 5:] -= 2
    assert float(apart(first, second).total.max()) < 1e-4


def test_both_answers_learn_and_the_certainty_is_no_way_out():
    first, second = maps(0).requires_grad_(), maps(1).requires_grad_()
    terms = apart(first, second)
    for gradient in torch.autograd.grad(terms.total.sum(), (first, second), retain_graph=True):
        assert (gradient != 0).float().mean() > 0.99
    # A network could else lower the cost of boxes and classes by finding fewer objects.
    (gradient,) = torch.autograd.grad((terms["box"] + terms["classification"]).sum(), first)
    assert not gradient[..., 4].any()


@pytest.mark.parametrize("name", ["yolov3", "yolov3_tiny"])
def test_networks_compare_their_answers(name):
    net, other = network(name).eval(), network(name, seed=1).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = net(images)
        same, different = (
            net.disagreement(raw, net(images)),
            net.disagreement(raw, [4 * maps for maps in other(images)]),
        )
    assert float(same.total.abs().max()) < 1e-3
    assert [term.shape for term in different.values()] == [(2,)] * 3
    assert all((term > 1e-3).all() for term in different.values())
