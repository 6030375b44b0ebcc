"""Scores from plain gradients of the detection loss: SNIP and Taylor."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from hydra_det.init.base import AGGREGATIONS, Batches, InitialScores, Sample, Tally, choose, full_precision
from hydra_det.modules.masked_conv import masked_layers


class Snip:
    """score = |weight * dL/dweight|: what removing a weight does to the loss, to first order.

    Lee et al. 2019, arXiv 1810.02340; there before training, here of a trained network. Scaled to sqrt(6 / fan_in).

    Args:
        aggregation: of micro-batches: `absolute`, `squared` or `signed`.
        images: training images looked at.
        micro_batch: images a pass.
        attacked: look at attacked images instead of clean ones.
    """

    def __init__(
        self, *, aggregation: str = "absolute", images: int = 64, micro_batch: int = 4, attacked: bool = False
    ) -> None:
        self.aggregation = aggregation
        self.aggregate = choose("aggregation", aggregation, AGGREGATIONS)
        self.sample = Sample(images=images, micro_batch=micro_batch, attacked=attacked)

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        net: Any = full_precision(network)
        layers = dict(masked_layers(net))
        tally = Tally(self.aggregate)
        for batch in batches(self.sample):
            targets = batch["targets"]
            # Stand-ins that ask for a gradient: the weights of the network stay as they are.
            weights = {name: layer.weight.detach().requires_grad_() for name, layer in layers.items()}
            with torch.enable_grad():
                given = {f"{name}.weight": weight for name, weight in weights.items()}
                raw = functional_call(net, given, batch["images"].to(next(iter(weights.values())).dtype))
                loss = net.losses(raw, targets).total.sum()
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            found = zip(weights.items(), gradients, strict=True)
            products = {name: weight * slope for (name, weight), slope in found if slope is not None}
            tally.add(products, images=len(targets))
        scores = tally.scores(network)
        facts = {"aggregation": self.aggregation, "images": tally.seen, "micro_batch": self.sample.micro_batch}
        return InitialScores(scores, {**facts, "attacked": self.sample.attacked})


class Taylor(Snip):
    """score = (weight * dL/dweight)^2 in the mean over micro-batches (Molchanov et al. 2019, arXiv 1906.10771).

    Arguments as in `Snip`.
    """

    def __init__(self, *, aggregation: str = "squared", images: int = 64, micro_batch: int = 4, attacked: bool = False):
        super().__init__(aggregation=aggregation, images=images, micro_batch=micro_batch, attacked=attacked)
