"""Networks that answer to their images, and samples of images, for initialisers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.init.base import Batches, Sample
from hydra_det.types import Batch
from tests.modules.example import batch, network, target


def answering(name: str = "yolov3", *, dtype: torch.dtype = torch.float32) -> Any:
    """A network in eval mode whose BatchNorm has seen images: the signal neither dies nor explodes on its way."""
    return season(network(name), batch(seed=5)["images"]).to(dtype)


def season(net: Any, images: Tensor) -> Any:
    """Give BatchNorm the statistics of some images; the network comes back in eval mode."""
    norms = [(module, module.momentum) for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm, _ in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(images)
    for norm, momentum in norms:
        norm.momentum = momentum
    return net.eval()


def objects_of_every_size(*, seed: int = 0) -> Batch:
    """Two images whose objects meet anchors of every level; the largest ones reach beyond their image."""
    made = batch(seed=seed)
    boxes = [[32 - side / 2, 40 - side / 2, 32 + side / 2, 40 + side / 2] for side in (10, 50, 70, 100, 150, 350)]
    return Batch(images=made["images"], targets=[target(boxes, [0, 1] * 3), target(boxes[::-1], [0, 0, 1] * 2)])


def given(*made: Batch) -> Batches:
    """The same batches whatever the sample; a stranger to the attack."""

    def batches(sample: Sample) -> Sequence[Batch]:
        assert not sample.attacked
        return made

    return batches


def disturbed(images: Tensor) -> Tensor:
    """As an attack might leave them: every pixel moved by 8/255, one way or the other."""
    signs = torch.randn(images.shape, generator=torch.Generator().manual_seed(3)).sign().to(images)
    return (images + 8 / 255 * signs).clamp(0, 1)


def attackable(*made: Batch) -> Batches:
    """The same batches whatever the sample; where it is an attacked one, disturbed."""
    attacked = [Batch(images=disturbed(one["images"]), targets=one["targets"]) for one in made]
    return lambda sample: attacked if sample.attacked else made
