"""The order of the images: a function of (seed, epoch) alone, shared out over the processes of a distributed run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed
from torch.utils.data import Dataset, DistributedSampler


class EpochSampler(DistributedSampler[Any]):
    """Yields (epoch, index) pairs, so that a data set can seed its augmentation by epoch in any worker.

    Lightning calls `set_epoch`; an interrupted run that resumes in epoch 7 sees exactly the order and the augmentation
    of an uninterrupted one. Every process gets equally many indices: the order is filled up with repeats from its
    start, which a metric must remove by image id.

    It is a `DistributedSampler` because Lightning replaces samplers of any other class in a distributed run. Rank and
    number of processes are read when iterating, since loaders may be built before the processes are joined.
    """

    def __init__(self, dataset: Dataset[Any], *, seed: int, shuffle: bool) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        self.count = len(dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        rank, world = _place()
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        padded = np.resize(order, len(self) * world)
        return ((self.epoch, int(index)) for index in padded[rank::world])

    def __len__(self) -> int:
        """Indices for this process."""
        _, world = _place()
        return (self.count + world - 1) // world


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
