"""Looking at a network without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[nn.Module]:
    """Eval mode and no parameter gradients inside; every train flag and `requires_grad` as before afterwards.

    In eval mode BatchNorm neither moves its statistics nor normalises by the batch: an attack made inside sees exactly
    the network that is scored, and costs no gradients of weights.
    """
    modes = [(module, module.training) for module in network.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield network
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
