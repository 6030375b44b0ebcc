"""Scores without thought, for comparison: magnitude and random."""

import torch
from torch import nn

from hydra_det.init.base import Batches, InitialScores, score_bound
from hydra_det.modules.masked_conv import masked_layers


class Magnitude:
    """score = |weight|, unscaled: comparable over layers, and in every layer the same first mask as `scaled`."""

    def __call__(self, network: nn.Module, _batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        return InitialScores({name: layer.weight.detach().abs() for name, layer in masked_layers(network)})


class Random:
    """score uniform in +-sqrt(6 / fan_in), whatever the weights are.

    Args:
        seed: of the drawing; the scores of a layer depend on it and on the layers before.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, network: nn.Module, _batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        # Another stream than that of the seed itself: the weights began as draws from that one, in the same order.
        generator = torch.Generator().manual_seed(hash((self.seed, 1)) % 2**63)
        scores = {}
        for name, layer in masked_layers(network):
            uniform = torch.rand(layer.weight.shape, generator=generator) * 2 - 1
            scores[name] = (uniform * score_bound(layer)).to(layer.weight)
        return InitialScores(scores)
