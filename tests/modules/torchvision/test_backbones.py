"""Weights of torchvision's classifiers fill backbones from a file, or are refused in one line."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_large, resnet18, resnet34, vgg16
from torchvision.ops import FrozenBatchNorm2d

from hydra_det.modules.torchvision.faster_rcnn import FasterRCNNDetector
from hydra_det.modules.torchvision.retinanet import RetinaNetDetector
from hydra_det.modules.torchvision.ssd import SSDDetector, SSDLiteDetector
from hydra_det.types import InputError


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    net = resnet18(weights=None)
    net.bn1.running_mean.uniform_()
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    save_file(net.state_dict(), path.with_suffix(".safetensors"))
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("norm", ["trained", "frozen"])
def test_a_resnet_from_a_file(resnet, suffix, norm):
    path = resnet.with_suffix(suffix)
    given = torch.load(resnet, weights_only=True)
    net = RetinaNetDetector(num_classes=1, backbone="resnet18", norm=norm)
    net.load_backbone(path)
    state = net.backbone.body.state_dict()
    assert len(state) > 80
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, given[name]), name
    frozen = [module for module in net.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(frozen) == (20 if norm == "frozen" else 0)
    assert all(parameter.requires_grad for parameter in net.parameters()), "all of it is trained"


def test_other_backbones_from_a_file(tmp_path):
    torch.manual_seed(0)
    small, large = mobilenet_v3_large(weights=None), vgg16(weights=None)
    torch.save(small.state_dict(), tmp_path / "mobilenet.pth")
    torch.save(large.state_dict(), tmp_path / "vgg.pth")
    lite = SSDLiteDetector(num_classes=2, reduced_tail=False)
    lite.load_backbone(tmp_path / "mobilenet.pth")
    # The strided block of the fourth stage is cut in two, after its first convolution.
    assert torch.equal(lite.backbone.features[0][0][0].weight, small.features[0][0].weight)
    assert torch.equal(lite.backbone.features[1][-1][0].weight, small.features[-1][0].weight)
    detector = FasterRCNNDetector(num_classes=2, backbone="mobilenet_v3_large")
    detector.load_backbone(tmp_path / "mobilenet.pth")
    assert torch.equal(detector.backbone.body["0"][0].weight, small.features[0][0].weight)
    ssd = SSDDetector(num_classes=2)
    ssd.load_backbone(tmp_path / "vgg.pth")
    assert torch.equal(ssd.backbone.features[0].weight, large.features[0].weight)


def test_what_is_refused(resnet, tmp_path):
    other = resnet.parent / "other.pth"
    torch.save(mobilenet_v3_large(weights=None).state_dict(), other)
    nothing = resnet.parent / "no.pth"
    text = resnet.parent / "text.pth"
    text.write_text("weights")
    broken = resnet.parent / "broken.pth"
    state = torch.load(resnet, weights_only=True)
    torch.save(state | {"conv1.weight": state["conv1.weight"] * torch.nan}, broken)
    number = resnet.parent / "number.pth"
    torch.save(3, number)
    for path, message in (
        (
            other,
            r"other.pth: expected the \d+ tensors of the backbone, found \d+ \(conv1.weight is missing",
        ),
        (nothing, "no.pth: expected a file with the weights of a backbone, found none"),
        (text, "text.pth: expected tensors by name, cannot be read"),
        (number, "number.pth: expected tensors by name, .*found something else"),
        (broken, "broken.pth: expected finite weights, found others in conv1.weight"),
    ):
        with pytest.raises(InputError, match=message):
            RetinaNetDetector(num_classes=1, backbone="resnet18").load_backbone(path)
    deeper = resnet.parent / "resnet34.pth"
    torch.save(resnet34(weights=None).state_dict(), deeper)  # has all tensors of the other one, and more
    with pytest.raises(InputError, match=r"\(layer1.2.bn1.bias is not one of them\)"):
        RetinaNetDetector(num_classes=1, backbone="resnet18").load_backbone(deeper)
    with pytest.raises(InputError, match=r"expected layer1.0.conv1.weight of shape"):
        RetinaNetDetector(num_classes=1, backbone="resnet50").load_backbone(resnet)
    with pytest.raises(InputError, match=r"model.norm: expected trained or frozen, got batch"):
        RetinaNetDetector(num_classes=1, backbone="resnet18", norm="batch")


def test_nothing_is_run_that_a_file_holds(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match=r"trap.pth: expected tensors by name, cannot be read"):
        RetinaNetDetector(num_classes=1, backbone="resnet18").load_backbone(tmp_path / "trap.pth")
    assert not (tmp_path / "touched").exists()
