"""What an attack sees of a network: losses by objective, and where pixels may change. Here attack and network meet."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_det.attacks.base import Attack, Losses, LossFunction
from hydra_det.attacks.objectives import OBJECTIVES, Objective, Reading
from hydra_det.data.datamodule import STRIDE
from hydra_det.types import Batch, InputError, LossTerms, Target


class NetworkView:
    """What a network says of a batch, for objectives.

    Args:
        net: the network.
        raw: its raw maps.
    """

    def __init__(self, net: Any, raw: Any) -> None:
        self.net = net
        self.raw = raw

    def losses(self, targets: Sequence[Target]) -> LossTerms:
        """Loss terms for a ground truth. [B] each"""
        terms: LossTerms = self.net.losses(self.raw, targets)
        return terms

    def margins(self, targets: Sequence[Target]) -> Tensor:
        """By how much the objects of every image are found, 0 where none is. [B]"""
        if not hasattr(self.net, "margins"):
            raise InputError(
                f"attack.objective: expected one that {type(self.net).__name__} has a term for, got margins; choose "
                "total or another loss term"
            )
        found: Tensor = self.net.margins(self.raw, targets)
        return found


def losses_of(net: Any, targets: Sequence[Target]) -> Losses:
    """What a network can be attacked for on a batch with this ground truth, by objective."""

    def loss_of(objective: Objective) -> LossFunction:
        return lambda images: objective(Reading(NetworkView(net, net(images)), targets, net.num_classes))

    return {name: loss_of(objective) for name, objective in OBJECTIVES.items()}


def attacked_images(
    net: Any, batch: Batch, attack: Attack, *, generator: torch.Generator | None = None, resolution: float = 1.0
) -> Tensor:
    """The images of a batch after an attack on `net`; padding is not perturbed. [B, 3, H, W]

    Below a `resolution` of 1 the network is attacked on smaller images, whose side is the largest multiple of 32 that
    is no more than that share, and the change is enlarged without smoothing: cheaper by the square, and weaker.

    The network should be undisturbed: in eval mode, and with no parameter that asks for a gradient.
    """
    images, targets, region = batch["images"], batch["targets"], content_region(batch)
    full = images.shape[-1]
    side = max(STRIDE, int(resolution * full / STRIDE + 1e-9) * STRIDE)
    if resolution == 1 or side == full:
        return attack(images, losses_of(net, targets), region=region, generator=generator)
    shrunk = [Target(**{**target, "boxes": target["boxes"] * (side / full)}) for target in targets]
    small = F.adaptive_avg_pool2d(images, side).clamp(0, 1)
    inside = F.adaptive_avg_pool2d(region.float(), side) == 1
    moved = attack(small, losses_of(net, shrunk), region=inside, generator=generator)
    change = F.interpolate(moved - small, size=images.shape[-2:], mode="nearest")
    return torch.where(region, (images + change).clamp(0, 1), images)


def content_region(batch: Batch) -> Tensor:
    """True where the images of a batch are not letterbox padding. [B, 1, H, W] bool"""
    device = batch["images"].device
    return torch.stack([target["letterbox"].content_mask(device=device) for target in batch["targets"]])[:, None]
