"""Scaled initialisation of scores: HYDRA's own (Sehwag et al. 2020, arXiv 2002.10509, equation 3)."""

from torch import nn

from hydra_det.init.base import Batches, InitialScores, scale_to_bound
from hydra_det.modules.masked_conv import masked_layers


class Scaled:
    """score = sqrt(6 / fan_in) * weight / max|weight|; the first mask of a layer is that of its largest weights."""

    def __call__(self, network: nn.Module, _batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        return InitialScores({name: scale_to_bound(m.weight.detach(), m) for name, m in masked_layers(network)})
