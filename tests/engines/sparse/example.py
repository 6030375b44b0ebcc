"""Networks written down operation by operation, with random weights."""

import copy

import torch
from torch import nn

from hydra_det.modules.graph import OPERATIONS, Graph, GraphDetector, Node

KINDS = {operation.module: kind for kind, operation in OPERATIONS.items()}


def detector(*parts):
    """A detector of one raw map from (name, module, inputs), the last of which makes its 8 channels.

    Args:
        parts: modules of the classes in `OPERATIONS`; a convolution keeps its weights.
    """
    nodes = [Node(name, KINDS[type(module)], tuple(inputs), _settings(module)) for name, module, inputs in parts]
    nodes.append(Node("raw", "raw_map", (parts[-1][0],), {"anchors": 1}))
    net = GraphDetector(Graph(nodes, ["raw"]), num_classes=3, anchors=[[10.0, 10.0]], strides=[8], scales=None)
    generator = torch.Generator().manual_seed(0)
    for name, module, _ in parts:
        made = net.get_submodule(name)
        if isinstance(made, nn.Conv2d):
            made.load_state_dict(module.state_dict())
        if isinstance(made, nn.BatchNorm2d):
            tensors = [tensor for tensor in made.state_dict().values() if tensor.is_floating_point()]
            for tensor in tensors:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net.eval()


def images(count=2, size=(96, 96), *, seed=0):
    """[count, 3, *size] in [0, 1)"""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def equal(net, engine, images):
    """Whether an engine is as near to the network in float64 as torch's float32 is, or nearly so."""
    with torch.no_grad():
        exact, wanted = copy.deepcopy(net).double()(images.double()), net(images)
    found = engine(images)
    for want, got in zip(wanted, found, strict=True):
        assert got.shape == want.shape
        assert got.dtype == torch.float32
    return _difference(exact, found) <= 6 * _difference(exact, wanted) + 1e-6


def _difference(exact, found):
    """As a share of the largest value of a raw map."""
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(exact, found, strict=True))


def _settings(module):
    names = OPERATIONS[KINDS[type(module)]].arguments
    found = {name: getattr(module, name) for name in names}
    return {**found, "bias": module.bias is not None} if "bias" in found else found
