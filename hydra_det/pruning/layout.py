"""How the convolutions of a network hang together: which channels each of them reads and writes.

A channel here is what must be kept or removed as one. A residual sum ties the filters that write its terms, so they
write one channel; a concatenation puts channels behind each other, so its reader reads those of all its parts. What a
group of a convolution with groups reads and writes is one channel too: it hands it on.
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor


class Layer(NamedTuple):
    """One masked convolution or linear layer.

    Attributes:
        shape: of its weight, (O, I / groups, kH, kW).
        writes: [O] int64, the channel of every filter.
        reads: [I] int64, the channel of every input; a channel may come more than once.
        positions: of its output, for one image of a size that is the same for all layers.
        groups: of which each reads a part of the input and writes a part of the output; those of a depthwise
            convolution a channel each.
    """

    shape: tuple[int, ...]
    writes: Tensor
    reads: Tensor
    positions: int
    groups: int = 1

    def by_input(self, kernels: Tensor) -> Tensor:
        """A value per kernel, sorted by the input channel that it reads. [O, I / groups] -> [I, O / groups]"""
        per_group = kernels.view(self.groups, -1, kernels.shape[1])
        return per_group.transpose(1, 2).reshape(self.groups * kernels.shape[1], -1)

    def kernels_reading(self, inputs: Tensor) -> Tensor:
        """The inverse for a value per input channel. [I] -> [O, I / groups]"""
        per_group = inputs.view(self.groups, 1, -1).expand(-1, self.shape[0] // self.groups, -1)
        return per_group.reshape(self.shape[:2])


class Layout(NamedTuple):
    """The masked layers of a network.

    Attributes:
        layers: by name, in the order of the network.
        fixed: [C] bool, channels that stay: those of images, of raw maps, and what a layer without a mask touches.
        outputs: [C] bool, channels of raw maps.
    """

    layers: dict[str, Layer]
    fixed: Tensor
    outputs: Tensor

    def groups(self) -> dict[str, Tensor]:
        """The channels that may go, by who writes and reads them: name of the first writer -> [n] int64, rising.

        So every channel of a group costs the same, wherever it is written and read.
        """
        writers: dict[int, list[str]] = {}
        readers: dict[int, list[str]] = {}
        for name, layer in self.layers.items():
            for ends, touched in ((writers, layer.writes), (readers, layer.reads)):
                for channel in touched.tolist():
                    ends.setdefault(channel, []).append(name)
        members: dict[tuple[tuple[str, ...], ...], list[int]] = {}
        for channel in sorted(writers):
            if not self.fixed[channel]:
                key = tuple(writers[channel]), tuple(readers.get(channel, ()))
                members.setdefault(key, []).append(channel)
        # Some may share their first writer, as where a sum takes a part of its channels, or a route does.
        taken: dict[str, Tensor] = {}
        for (names, _), channels in members.items():
            one, all_of_them = names[0], "+".join(dict.fromkeys(names))
            more = (f"{all_of_them} part {number}" for number in itertools.count(2))
            name = next(name for name in (one, all_of_them, *itertools.islice(more, len(taken))) if name not in taken)
            taken[name] = torch.tensor(channels)
        return taken
