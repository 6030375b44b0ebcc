"""Scores from the weights alone, but not layer by layer: synaptic flow."""

import copy

import torch
from torch import Tensor, nn

from hydra_det.init.base import Batches, InitialScores, scale_to_bound
from hydra_det.modules.masked_conv import masked_layers

SIDE = 256  # of the white image, pixels; in a much smaller one some weights would only ever meet padding


class SynFlow:
    """score = |weight| * dR/d|weight|: how much flows through a weight if all signs are dropped.

    R sums the raw maps that a white image has in a network of absolute weights without any shift (Tanaka et al. 2020,
    arXiv 2006.05467). Theirs prunes in a hundred rounds; this is the flow of the whole network, in one. BatchNorm
    counts by the size of its scale, as it does once it is folded into the convolution. No training image is looked at.
    """

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """See `Initialiser`."""
        net = copy.deepcopy(network).double()  # the flow grows with every layer, beyond what float32 holds
        with torch.no_grad():
            for values in net.parameters():
                values.abs_()
            for module in net.modules():
                for shift in ("bias", "running_mean"):
                    if isinstance(getattr(module, shift, None), Tensor):
                        getattr(module, shift).zero_()
        for name, module in net.named_modules():
            if isinstance(module, nn.Sigmoid):  # is flat for all that flows here
                net.set_submodule(name, nn.Identity())
        layers = masked_layers(net)
        for _, layer in layers:
            layer.weight.requires_grad_()
        first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        with torch.enable_grad():
            white = first.weight.new_ones(1, first.in_channels, SIDE, SIDE)
            flow = torch.stack([maps.sum() for maps in net(white)]).sum()
            gradients = torch.autograd.grad(flow, [layer.weight for _, layer in layers], materialize_grads=True)
        return InitialScores({
            name: scale_to_bound(layer.weight.detach() * gradient, layer).to(next(network.parameters()).dtype)
            for (name, layer), gradient in zip(layers, gradients, strict=True)
        })  # fmt: skip
