"""The units of a whole network, in pools of which each keeps its best: layers, or groups of filters.

Scores go in, importance per unit comes out; what is kept of every pool goes in, masks come out.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from hydra_det.pruning.granularity import Granularity
from hydra_det.pruning.layout import Layer, Layout

Counts = dict[str, int]  # pool -> units
Price = Callable[[str, float, float], float]  # layer, filters, input channels -> what it costs with so many


class Units(Protocol):
    """What allocation and masks know of the units.

    Attributes:
        sizes: pool -> number of its units.
        each_layer: whether a ratio is reached by the same share of every pool.
        dimensions: of a weight that shrink with the share that its pools keep.
    """

    sizes: Counts
    each_layer: bool
    dimensions: int

    def importance(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of every layer -> pool -> [n], the larger the better."""
        ...

    def gains(self, slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Derivative of the loss by every entry of a mask -> by every unit. -> pool -> [n]"""
        ...

    def masks(self, kept: Mapping[str, Tensor], *, final: bool) -> dict[str, Tensor]:
        """Units kept, pool -> [n] bool -> layer -> [O, I, kH, kW] bool; `final`: not to be trained any more."""
        ...

    def kept(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `masks`: pool -> [n] bool, True where any weight of a unit is kept."""
        ...

    def cost(self, counts: Counts, price: Price) -> float:
        """What the network costs with so many units of each pool."""
        ...

    def members(self, pool: str) -> list[Layer]:
        """The layers whose filters or weights the units of a pool are."""
        ...


class LayerUnits:
    """Every layer is a pool of units of one granularity.

    A layer is left whole where the granularity does not fit: filters that write raw maps, blocks that the input
    channels do not fill.

    Args:
        granularity: cuts the layers.
        layout: of the network.
    """

    dimensions = 1

    def __init__(self, granularity: Granularity, layout: Layout) -> None:
        self.granularity = granularity
        self.layout = layout
        self.each_layer = granularity.each_layer
        self.sizes: Counts = {}
        for name, layer in layout.layers.items():
            if granularity.fits(layer.shape, ends=bool(layout.outputs[layer.writes].any())):
                self.sizes[name] = len(granularity.gather(torch.empty(layer.shape, device="meta")))

    def importance(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean |score| of every unit, or its rank in its block."""
        return {name: self.granularity.unit_scores(scores[name].detach()) for name in self.sizes}

    def gains(self, slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over the weights of every unit."""
        return {name: self.granularity.gather(slopes[name]).sum(1) for name in self.sizes}

    def masks(self, kept: Mapping[str, Tensor], *, final: bool) -> dict[str, Tensor]:
        """The same while training and at the end."""
        device = next(iter(kept.values())).device
        answer = {}
        for name, layer in self.layout.layers.items():
            if name in kept:
                answer[name] = self.granularity.expand(kept[name], layer.shape).contiguous()
            else:
                answer[name] = torch.ones(layer.shape, dtype=torch.bool, device=device)
        return answer

    def kept(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True where any weight of a unit is kept."""
        return {name: self.granularity.gather(masks[name]).any(1) for name in self.sizes}

    def cost(self, counts: Counts, price: Price) -> float:
        """A layer with a share of its units costs as much as with that share of its filters."""
        total = 0.0
        for name, layer in self.layout.layers.items():
            share = counts[name] / self.sizes[name] if name in counts else 1.0
            total += price(name, share * layer.shape[0], layer.shape[1])
        return total

    def members(self, pool: str) -> list[Layer]:
        """The layer itself."""
        return [self.layout.layers[pool]]


class FilterGroups:
    """Channels: all filters that write one go, also those that residual sums tie, and all weights that read it.

    The score of a channel is the mean over the layers that write or read it, of the mean |score| of its weights there.
    While scores are trained only the reading weights are masked. The network answers as if the channel were gone, and
    yet the channel is computed, so that what it would add reaches the scores of its readers: a channel can come back.
    For the same reason a convolution with groups, which hands channels on, is not masked before the end.

    Args:
        layout: of the network.
    """

    each_layer = False
    dimensions = 2

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.groups = layout.groups()
        self.sizes: Counts = {name: len(channels) for name, channels in self.groups.items()}
        pool_of = {int(channel): name for name, channels in self.groups.items() for channel in channels}
        # Layer -> (fixed filters, filters per unit of each pool), and the same for what it reads.
        self._ends = {
            name: (
                self._sides(layer.writes, pool_of),
                self._sides(layer.reads, pool_of) if layer.groups == 1 else (layer.shape[1], []),
            )
            for name, layer in layout.layers.items()
        }

    def importance(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean over layers of the mean |score| of a channel's weights."""
        device = next(iter(scores.values())).device
        total, ends = torch.zeros(2, len(self.layout.fixed), device=device)
        for name, layer in self.layout.layers.items():
            kernels = scores[name].detach().float().abs().mean(dim=(2, 3))  # [O, I]
            for channels, means in ((layer.writes, kernels.mean(1)), (layer.reads, layer.by_input(kernels).mean(1))):
                total.index_add_(0, channels.to(device), means)
                ends.index_add_(0, channels.to(device), torch.ones_like(means))
        return self._by_group(total / ends.clamp(min=1))

    def gains(self, slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over the weights that read a channel: what is written and not read changes nothing."""
        device = next(iter(slopes.values())).device
        total = torch.zeros(len(self.layout.fixed), device=device)
        for name, layer in self._readers():
            total.index_add_(0, layer.reads.to(device), slopes[name].float().sum(dim=(0, 2, 3)))
        return self._by_group(total)

    def masks(self, kept: Mapping[str, Tensor], *, final: bool) -> dict[str, Tensor]:
        """Of the weights that read a channel; at the end of those that write it too."""
        device = next(iter(kept.values())).device
        keep = self.layout.fixed.to(device, copy=True)
        for name, channels in self.groups.items():
            keep[channels.to(device)] = kept[name]
        answer = {}
        for name, layer in self.layout.layers.items():
            kernels = layer.kernels_reading(keep[layer.reads.to(device)])
            if final:
                kernels = kernels & keep[layer.writes.to(device)][:, None]
            elif layer.groups > 1:
                kernels = torch.ones_like(kernels)
            answer[name] = kernels[:, :, None, None].expand(layer.shape).contiguous()
        return answer

    def kept(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True where somebody reads a channel."""
        device = next(iter(masks.values())).device
        read = torch.zeros(len(self.layout.fixed), device=device)
        for name, layer in self._readers():
            read.index_add_(0, layer.reads.to(device), masks[name].any(dim=3).any(dim=2).any(dim=0).float())
        return self._by_group(read > 0)

    def cost(self, counts: Counts, price: Price) -> float:
        """A layer costs what one with so many filters and input channels costs."""
        total = 0.0
        for name, ends in self._ends.items():
            filters, inputs = (fixed + sum(times * counts[pool] for pool, times in pools) for fixed, pools in ends)
            total += price(name, filters, inputs)
        return total

    def members(self, pool: str) -> list[Layer]:
        """The layers that write the channels of a group."""
        channels = set(self.groups[pool].tolist())
        return [layer for layer in self.layout.layers.values() if channels & set(layer.writes.tolist())]

    def _readers(self) -> list[tuple[str, Layer]]:
        """The layers whose masks say which channels are read."""
        return [(name, layer) for name, layer in self.layout.layers.items() if layer.groups == 1]

    def _by_group(self, values: Tensor) -> dict[str, Tensor]:
        return {name: values[channels.to(values.device)] for name, channels in self.groups.items()}

    def _sides(self, channels: Tensor, pool_of: Mapping[int, str]) -> tuple[int, list[tuple[str, float]]]:
        """How many of a layer's channels stay, and how many a unit of each pool adds."""
        pools = [pool_of.get(channel) for channel in channels.tolist()]
        times = [(pool, pools.count(pool) / self.sizes[pool]) for pool in dict.fromkeys(pools) if pool is not None]
        return pools.count(None), times
