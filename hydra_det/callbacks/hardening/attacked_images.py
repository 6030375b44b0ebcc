"""What an attack sees of a network: losses by objective, and where pixels may change. Here attack and network meet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_det.attacks.base import Attack, Losses, LossFunction, changes_padding
from hydra_det.attacks.objectives.ranking import Ranking
from hydra_det.attacks.objectives.registry import OBJECTIVES, Objective, Reading, check_objective, objective_of
from hydra_det.boxes import Letterbox
from hydra_det.data.datamodule import STRIDE
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, Candidates, InputError, LossTerms, Target


class NetworkView:
    """What a network says of a batch, for objectives.

    Args:
        net: the network.
        raw: its raw maps.
        size: (height, width) of the images.
    """

    def __init__(self, net: Any, raw: Any, size: Sequence[int]) -> None:
        self.net = net
        self.raw = raw
        self.size = size

    def losses(self, targets: Sequence[Target]) -> LossTerms:
        """Loss terms for a ground truth. [B] each"""
        terms: LossTerms = self.net.losses(self.raw, targets)
        return terms

    def margins(self, targets: Sequence[Target]) -> Tensor:
        """By how much the objects of every image are found, 0 where none is. [B]"""
        if not hasattr(self.net, "margins"):
            raise InputError(
                f"attack: expected an objective that {type(self.net).__name__} has a term for, got margins, which "
                "needs a method margins; choose total or another loss term"
            )
        found: Tensor = self.net.margins(self.raw, targets)
        return found

    def candidates(self) -> Candidates:
        """Every box, clipped to the images, with its confidence per class, before suppression."""
        if not hasattr(self.net, "decode"):
            raise InputError(
                f"attack: expected an objective that {type(self.net).__name__} has a term for, got average_precision, "
                "which needs a method decode; choose total or another loss term, for task_wise as attack.judge"
            )
        boxes, confidences = self.net.decode(self.raw)
        height, width = self.size
        limit = boxes.new_tensor([width, height, width, height])
        return Candidates(torch.minimum(boxes.clamp(min=0), limit), confidences)

    @property
    def overlap(self) -> float:
        """Of two boxes of a class, above which suppression removes the less certain one; 1 where it removes none."""
        settings = getattr(self.net, "nms_settings", None)  # a user's network answers with all that it decodes
        return 1.0 if settings is None else float(settings.iou)


class ByObjective(dict[str, LossFunction]):
    """Losses by objective, made when they are asked for: a network may have terms of its own."""

    def __init__(self, loss_of: Callable[[Objective], LossFunction]) -> None:
        super().__init__({name: loss_of(objective) for name, objective in OBJECTIVES.items()})
        self.loss_of = loss_of

    def __missing__(self, name: str) -> LossFunction:
        check_objective(name)
        return self.loss_of(objective_of(name))


def losses_of(net: Any, targets: Sequence[Target], *, ranking: Ranking | None = None) -> Losses:
    """What a network can be attacked for on a batch with this ground truth, by objective.

    `ranking` is that of earlier batches, in which the detections of this one take their places.
    """

    def loss_of(objective: Objective) -> LossFunction:
        def loss(images: Tensor) -> Tensor:
            view = NetworkView(net, net(images), images.shape[-2:])
            return objective(Reading(view, targets, net.num_classes, ranking))

        return loss

    return ByObjective(loss_of)


def attack(net: Any, images: Tensor, targets: Sequence[Mapping[str, Any]], method: Attack, *, seed: int = 0) -> Tensor:
    """Images after a white-box attack on a network, which is left as it was. [B, 3, H, W] in [0, 1], on its device

    Args:
        net: dense or masked; attacked in eval mode.
        images: [B, 3, H, W] in [0, 1]; H and W are multiples of 32.
        targets: what is in each image: `boxes` [N, 4] xyxy in pixels of the images, `labels` [N] int64. Where a target
            says by its `letterbox` which part of the image is padding, that part is perturbed only with `padding=True`.
        method: an attack, such as `PGD(epsilon=8 / 255, step_size=2 / 255, steps=20)`.
        seed: of attacks that draw.

    Raises:
        InputError: images outside of [0, 1], a box without an area, or targets that do not fit the images or the
            network.
    """
    if len(images) != len(targets):
        raise InputError(f"targets: expected one for each of {len(images)} images, got {len(targets)}")
    batch = on_device(Batch(images=images, targets=list(targets)), net)  # type: ignore[arg-type]
    if wrong := [n for n, target in enumerate(batch["targets"]) if (target["labels"] >= net.num_classes).any()]:
        raise InputError(f"targets[{wrong[0]}]: expected labels below {net.num_classes}, the classes of the network")
    region = _region(targets, batch["images"], padding=changes_padding(method))
    generator = torch.Generator().manual_seed(seed)
    with undisturbed(net):
        return method(batch["images"], losses_of(net, batch["targets"]), region=region, generator=generator)


def on_device(batch: Batch, net: Any) -> Batch:
    """A batch on the device of a network, with all that targets of ours have."""
    images = batch["images"].to(next(net.parameters()).device)
    return Batch(images=images, targets=[_complete(target, n, images) for n, target in enumerate(batch["targets"])])


def _complete(target: Mapping[str, Any], number: int, images: Tensor) -> Target:
    if missing := [key for key in ("boxes", "labels") if key not in target]:
        raise InputError(f"targets[{number}]: expected boxes and labels, got no {missing[0]}")
    boxes = torch.as_tensor(target["boxes"], dtype=torch.float32, device=images.device).reshape(-1, 4)
    labels = torch.as_tensor(target["labels"], dtype=torch.int64, device=images.device).reshape(-1)
    if len(boxes) != len(labels):
        raise InputError(f"targets[{number}]: expected a label for each of {len(boxes)} boxes, got {len(labels)}")
    if flat := [box.tolist() for box in boxes if not (box.isfinite().all() and (box[2:] > box[:2]).all())]:
        raise InputError(f"targets[{number}]: expected boxes [left, top, right, bottom] with an area, got {flat[0]}")
    height, width = images.shape[-2:]
    letterbox = target.get("letterbox", Letterbox(size=max(height, width), height=height, width=width))
    if letterbox.size != max(height, width):
        raise InputError(f"targets[{number}]: expected a letterbox of {max(height, width)} px, got {letterbox.size}")
    return Target(boxes=boxes, labels=labels, image_id=target.get("image_id", number), letterbox=letterbox)


def _content(target: Mapping[str, Any], images: Tensor) -> Tensor:
    """True where an image is no padding, everywhere where nothing is said of any. [H, W] bool"""
    if "letterbox" in target:
        return target["letterbox"].content_mask(device=images.device)
    return torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)


def attacked_images(
    net: Any,
    batch: Batch,
    attack: Attack,
    *,
    generator: torch.Generator | None = None,
    resolution: float = 1.0,
    ranking: Ranking | None = None,
) -> Tensor:
    """The images of a batch after an attack on `net`; padding changes where the attack has `padding`. [B, 3, H, W]

    Below a `resolution` of 1 the network is attacked on smaller images, whose side is the largest multiple of 32 that
    is no more than that share, and the change is enlarged without smoothing: cheaper by the square, and weaker.

    The network should be undisturbed: in eval mode, and with no parameter that asks for a gradient.

    A `ranking` is that of the batches that were attacked before this one; an attack on AP places detections in it.
    """
    if ranking is not None:
        ranking.next_batch()
    images, targets, region = batch["images"], batch["targets"], content_region(batch, padding=changes_padding(attack))
    full = images.shape[-1]
    side = max(STRIDE, int(resolution * full / STRIDE + 1e-9) * STRIDE)
    if resolution == 1 or side == full:
        return attack(images, losses_of(net, targets, ranking=ranking), region=region, generator=generator)
    shrunk = [Target(**{**target, "boxes": target["boxes"] * (side / full)}) for target in targets]
    small = F.adaptive_avg_pool2d(images, side).clamp(0, 1)
    inside = F.adaptive_avg_pool2d(region.float(), side) == 1
    moved = attack(small, losses_of(net, shrunk, ranking=ranking), region=inside, generator=generator)
    change = F.interpolate(moved - small, size=images.shape[-2:], mode="nearest")
    return torch.where(region, (images + change).clamp(0, 1), images)


def content_region(batch: Batch, *, padding: bool = False) -> Tensor:
    """True where the images of a batch are not letterbox padding; with `padding` everywhere. [B, 1, H, W] bool"""
    return _region(batch["targets"], batch["images"], padding=padding)


def _region(targets: Sequence[Mapping[str, Any]], images: Tensor, *, padding: bool) -> Tensor:
    if padding:
        return torch.ones_like(images[:, :1], dtype=torch.bool)
    return torch.stack([_content(target, images) for target in targets])[:, None]
