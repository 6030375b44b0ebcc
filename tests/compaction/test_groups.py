"""What goes with a channel, against the dependency graph of torch-pruning."""

import pytest
import torch
import torch_pruning as tp
from torch import nn

from hydra_det.compaction.channels import layout
from hydra_det.modules.masked_conv import make_masked
from tests.modules.example import ARCHITECTURES, network


# Groups of several channels are cut otherwise there: inside every group, where here a group goes as a whole.
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "darknet_varied"])
def test_a_channel_goes_with_what_torch_pruning_says(name):
    net = network(name).eval()
    names = {module: path for path, module in net.named_modules()}
    graph = tp.DependencyGraph().build_dependency(
        net, example_inputs=torch.rand(1, 3, 64, 64), output_transform=lambda raw: sum(level.sum() for level in raw)
    )
    found = layout(make_masked(network(name)))
    for group, channels in found.groups().items():
        for channel in {int(channels[0]), int(channels[len(channels) // 2]), int(channels[-1])}:
            filters = (found.layers[group].writes == channel).nonzero().flatten().tolist()
            theirs = set()
            for dependency, indices in graph.get_pruning_group(
                net.get_submodule(group), tp.prune_conv_out_channels, idxs=filters
            ):
                module = dependency.target.module
                if isinstance(module, nn.Conv2d):
                    ends = ["writes"] if dependency.handler == tp.prune_conv_out_channels else ["reads"]
                    ends = ["writes", "reads"] if module.groups > 1 else ends  # a depthwise one hands on what it reads
                    theirs |= {(names[module], end, int(index)) for index in indices for end in ends}
            ours = {
                (path, end, index)
                for path, layer in found.layers.items()
                for end in ("writes", "reads")
                for index in (getattr(layer, end) == channel).nonzero().flatten().tolist()
            }
            assert ours == theirs
