"""Do the masks of a network count, wherever it computes with their weights?"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hydra_det.modules.masked_conv import make_dense, masked_layers
from hydra_det.modules.protocol import tried_targets
from hydra_det.modules.raw_maps import tensors_of
from hydra_det.types import InputError


def check_masks(masked: Any, *, image_size: int, exclude: Sequence[str] = ()) -> None:
    """Refuse a network that computes with the weights of a layer without its forward: the mask would not count.

    `nn.MultiheadAttention` does, as does `nn.TransformerEncoderLayer` in eval mode without gradients.

    Args:
        masked: a network with masked layers; is not changed.
        image_size: side of the images in pixels.
        exclude: what was left dense already.

    Raises:
        InputError: which layers.
    """
    net = copy.deepcopy(masked).eval()
    generator = torch.Generator().manual_seed(0)
    layers = masked_layers(net)
    for _, layer in layers:
        layer.mask.copy_(torch.rand(layer.mask.shape, generator=generator) < 0.5)
    weight = next(net.parameters())
    images = torch.rand(1, 3, image_size, image_size, generator=generator).to(weight.device, weight.dtype)
    if _masks_count(net, images):
        return
    halves = [layer.mask.clone() for _, layer in layers]
    wrong = []
    for number, (name, _) in enumerate(layers):
        for place, (_, layer) in enumerate(layers):
            layer.mask.copy_(halves[place] if place == number else torch.ones_like(layer.mask))
        if not _masks_count(net, images):
            wrong.append(name)
    raise InputError(
        f"prune: expected layers whose weights count through their forward alone, which masks are in; "
        f"{type(masked).__name__} computes otherwise with {', '.join(wrong) or 'some of them'}; leave them dense by "
        f"prune.exclude=[{','.join([*exclude, *wrong])}]"
    )


def _masks_count(net: Any, images: Tensor) -> bool:
    """Whether a network answers as one with zeros in its weights, with gradients and without."""
    dense = make_dense(copy.deepcopy(net)).eval()  # a copy of a graph of torch.fx is in train mode
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            pairs = zip(_answers(net, images), _answers(dense, images), strict=True)
            if not all(torch.allclose(one, two, rtol=1e-3, atol=1e-5) for one, two in pairs):
                return False
    return True


def _answers(net: Any, images: Tensor) -> list[Tensor]:
    """Raw maps, and losses of whatever lies behind them; detections change their order for a hair."""
    raw = net(images)
    return [*tensors_of(raw), net.losses(raw, tried_targets(images, counts=(1,), classes=net.num_classes)).total]
