"""How the convolutions of a network hang together: which channels each of them reads and writes.

A channel here is what must be kept or removed as one. A residual sum ties the filters that write its terms, so they
write one channel; a concatenation puts channels behind each other, so its reader reads those of all its parts.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Layer(NamedTuple):
    """One masked convolution.

    Attributes:
        shape: of its weight, (O, I, kH, kW).
        writes: [O] int64, the channel of every filter.
        reads: [I] int64, the channel of every input; a channel may come more than once.
        positions: of its output, for one image of a size that is the same for all layers.
    """

    shape: tuple[int, ...]
    writes: Tensor
    reads: Tensor
    positions: int


class Layout(NamedTuple):
    """The masked convolutions of a network.

    Attributes:
        layers: by name, in the order of the network.
        fixed: [C] bool, channels that stay: those of images, of raw maps, and what a layer without a mask touches.
        outputs: [C] bool, channels of raw maps.
    """

    layers: dict[str, Layer]
    fixed: Tensor
    outputs: Tensor

    def groups(self) -> dict[str, Tensor]:
        """The channels that may go, by who writes them: name of the first writer -> [n] int64, rising."""
        writers: dict[int, list[str]] = {}
        for name, layer in self.layers.items():
            for channel in layer.writes.tolist():
                writers.setdefault(channel, []).append(name)
        members: dict[tuple[str, ...], list[int]] = {}
        for channel in sorted(writers):
            if not self.fixed[channel]:
                members.setdefault(tuple(dict.fromkeys(writers[channel])), []).append(channel)
        # Two groups may share their first writer, as where a sum takes a part of its channels.
        taken: dict[str, Tensor] = {}
        for names, channels in members.items():
            key = names[0] if names[0] not in taken else "+".join(names)
            taken[key] = torch.tensor(channels)
        return taken
