"""Normalisations beside those of torch."""

import torch.nn.functional as F
from torch import Tensor, nn


class L2Norm(nn.Module):
    """Divides the values of every place by their length over the channels. DeepLIFT has rules for modules alone."""

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape"""
        return F.normalize(maps, dim=1)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics for a single value per channel, of which it has none.

    So a batch of one image, as the last one of an epoch, passes a level of one place.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape"""
        if self.training and maps.numel() == self.num_features:
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(maps)
