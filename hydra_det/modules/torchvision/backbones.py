"""Backbones of torchvision's detectors: by name, with a choice of normalisation and with weights from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN, mobilenet_backbone, resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from hydra_det.files.machine_errors import is_of_machine
from hydra_det.modules.weights import read_weights
from hydra_det.types import InputError

NORMS: dict[str, Any] = {"trained": nn.BatchNorm2d, "frozen": FrozenBatchNorm2d}
RESNETS = ("resnet18", "resnet34", "resnet50")
MOBILENET = "mobilenet_v3_large"
CLASSIFIERS = ("fc.", "classifier.")  # what the files of classifiers have beside their backbones


class TwoMoreLevels(LastLevelP6P7):
    """Two coarser levels on top of a pyramid (Lin et al. 2017, arXiv 1708.02002), with its activation as a module."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.activation = nn.ReLU()

    def forward(
        self, pyramid: list[Tensor], features: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        """Levels, what they were made of, and their names -> the same with two more."""
        sixth = self.p6(pyramid[-1] if self.use_P5 else features[-1])
        seventh = self.p7(self.activation(sixth))
        return [*pyramid, sixth, seventh], [*names, "p6", "p7"]


def pyramid(name: str, *, norm: str, more: bool) -> tuple[BackboneWithFPN, int]:
    """A backbone under a feature pyramid, all of it trained.

    Args:
        name: one of `RESNETS`, or `MOBILENET`.
        norm: a key of `NORMS`; `frozen` only makes sense with weights that are loaded later.
        more: from stride 8 with two more levels, as RetinaNet and FCOS want it; else all levels and a pooled one. Only
            of the resnets.

    Returns:
        It, and the stride of its finest level in pixels.

    Raises:
        InputError: no such backbone or normalisation.
    """
    layer = norm_layer(norm)
    known = RESNETS if more else (*RESNETS, MOBILENET)
    if name not in known:
        raise InputError(f"model.backbone: expected {', '.join(known)}, got {name}")
    if name == MOBILENET:
        made = mobilenet_backbone(
            backbone_name=name, weights=None, fpn=True, norm_layer=layer, trainable_layers=6,
            extra_blocks=LastLevelMaxPool(),
        )  # fmt: skip
        stride = 32  # both levels that torchvision takes
    else:
        made = resnet_fpn_backbone(
            backbone_name=name, weights=None, norm_layer=layer, trainable_layers=5,
            returned_layers=[2, 3, 4] if more else [1, 2, 3, 4],
            extra_blocks=TwoMoreLevels(256) if more else LastLevelMaxPool(),
        )  # fmt: skip
        stride = 8 if more else 4
    return made, stride


def norm_layer(norm: str) -> Any:
    """The class of a normalisation."""
    if norm not in NORMS:
        raise InputError(f"model.norm: expected {' or '.join(NORMS)}, got {norm}")
    return NORMS[norm]


def fill(network: nn.Module, path: Path) -> None:
    """Fill a backbone with the weights of a classifier of the same kind, as torchvision publishes them.

    Args:
        network: the layers before the classifier, with the names that they have there.
        path: `.safetensors`, or torchvision's `.pth`, of which nothing but tensors is read.

    Raises:
        InputError: the file is of something else.
    """
    found = {name.removeprefix("features."): tensor for name, tensor in _read(path).items()}
    expected = {
        name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    for name, tensor in expected.items():
        if name not in found:
            raise InputError(
                f"{path}: expected the {len(expected)} tensors of the backbone, found {len(found)} ({name} is "
                "missing); are these the weights of another backbone?"
            )
        if found[name].shape != tensor.shape:
            raise InputError(
                f"{path}: expected {name} of shape {list(tensor.shape)}, found {list(found[name].shape)}; are these "
                "the weights of another backbone?"
            )
        if not found[name].isfinite().all():
            raise InputError(f"{path}: expected finite weights, found others in {name}")
    apart = [name for name in found if name.startswith(CLASSIFIERS) or name.endswith("num_batches_tracked")]
    others = found.keys() - expected.keys() - {*apart}
    for name in sorted(others):
        raise InputError(
            f"{path}: expected the {len(expected)} tensors of the backbone, found {len(found)} ({name} is not one of "
            "them); are these the weights of another backbone?"
        )
    network.load_state_dict({name: found[name] for name in expected}, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_weights(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a file with the weights of a backbone, found none; check the path")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a broken file, whatever reading it makes of it
        if is_of_machine(error):
            raise
        raise InputError(f"{path}: expected tensors by name, cannot be read; is it torchvision's .pth?") from error
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"{path}: expected tensors by name, as torchvision publishes them, found something else")
    return found
