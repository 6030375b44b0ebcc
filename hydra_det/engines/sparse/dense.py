"""A convolution with too few zeros: torch computes it, and its maps go back and forth."""

from typing import Any

import torch
import torch.nn.functional as F

from hydra_det.engines.sparse.layout import Floats, channels_at, put
from hydra_det.engines.sparse.program import Dense

CURVES: dict[str, Any] = {"mish": F.mish, "swish": F.silu, "logistic": torch.sigmoid}


@torch.no_grad()
def compute(step: Dense, memory: Floats) -> None:
    """Do one step that is torch's."""
    made, source, target = step.convolution, step.source, step.target
    maps = torch.from_numpy(channels_at(memory, source.base, source.layout, source.channels))[None].contiguous()
    weights, bias = torch.from_numpy(made.weights), torch.from_numpy(made.bias)
    found = F.conv2d(maps, weights, bias, made.stride, made.padding, made.dilation)
    if made.slope != 1:
        found = F.leaky_relu_(found, made.slope)
    if made.curved:
        found = CURVES[made.curved](found)
    if step.added is not None:
        found += torch.from_numpy(channels_at(memory, step.added.base, step.added.layout, step.added.channels))[None]
    put(memory, target.base, target.layout, found[0].numpy())
