"""Scores from plain gradients of the detection loss: SNIP and Taylor."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from hydra_det.init.base import Batches, FromImages, InitialScores, Tally, full_precision
from hydra_det.modules.masked_conv import masked_layers


class Snip(FromImages):
    """score = |weight * dL/dweight|: what removing a weight does to the loss, to first order.

    Lee et al. 2019, arXiv 1810.02340; there before training, here of a trained network. Arguments as in `FromImages`.
    """

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        net: Any = full_precision(network)
        layers = masked_layers(net)
        tally = Tally(self.aggregate)
        for batch in batches(self.sample):
            # Stand-ins that ask for a gradient: the weights of the network stay as they are.
            weights = {name: layer.weight.detach().requires_grad_() for name, layer in layers}
            with torch.enable_grad():
                images = batch["images"].to(layers[0][1].weight.dtype)
                raw = functional_call(net, {f"{name}.weight": weight for name, weight in weights.items()}, images)
                loss = net.losses(raw, batch["targets"]).total.sum()
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            found = zip(weights.items(), gradients, strict=True)
            products = {name: weight * slope for (name, weight), slope in found if slope is not None}
            tally.add(products, images=len(images))
        return self.finish(tally, network)


class Taylor(Snip):
    """score = (weight * dL/dweight)^2 in the mean over micro-batches (Molchanov et al. 2019, arXiv 1906.10771).

    Arguments as in `FromImages`.
    """

    def __init__(self, *, aggregation: str = "squared", **options: Any) -> None:
        super().__init__(aggregation=aggregation, **options)
