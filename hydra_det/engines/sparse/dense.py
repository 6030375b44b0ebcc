"""A convolution with too few zeros: torch computes it, and its maps go back and forth."""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_det.engines.sparse.layout import Floats, channels_at, put
from hydra_det.engines.sparse.program import Dense
from hydra_det.engines.sparse.threads import side_by_side, torch_helpers

CURVES: dict[str, Any] = {"mish": F.mish, "swish": F.silu, "logistic": torch.sigmoid}
BLOCK = 16  # outputs that torch computes together; shares are whole blocks


def compute(step: Dense, memory: Floats, *, threads: int) -> None:
    """Do one step that is torch's, a share of its outputs in each thread.

    With threads of its own torch would leave them waiting at full load after every step, on the cores of ours.
    """
    made, source = step.convolution, step.source
    maps = torch.from_numpy(channels_at(memory, source.base, source.layout, source.channels))[None].contiguous()
    blocks = np.arange(0, len(made.weights), BLOCK)
    shares = [share for share in np.array_split(blocks, threads) if len(share)]
    parts = [slice(int(share[0]), int(share[-1]) + BLOCK) for share in shares]
    side_by_side(torch_helpers(os.getpid(), threads), [partial(_part, step, memory, maps, part) for part in parts])


@torch.no_grad()
def _part(step: Dense, memory: Floats, maps: Tensor, outputs: slice) -> None:
    """Some of the outputs."""
    made, target = step.convolution, step.target
    weights, bias = torch.from_numpy(made.weights[outputs]), torch.from_numpy(made.bias[outputs])
    found = F.conv2d(maps, weights, bias, made.stride, made.padding, made.dilation)
    if made.slope != 1:
        found = F.leaky_relu_(found, made.slope)
    if made.curved:
        found = CURVES[made.curved](found)
    if step.added is not None:
        added = channels_at(memory, step.added.base, step.added.layout, step.added.channels)
        found += torch.from_numpy(added[outputs])[None]
    put(memory, target.base + outputs.start * target.layout.channel, target.layout, found[0].numpy())
