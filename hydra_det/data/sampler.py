"""The order of the images: a function of (seed, epoch) alone, shared out over the processes of a distributed run."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch.distributed
from torch.utils.data import Dataset, DistributedSampler


class SampleKey(NamedTuple):
    """What a data set is asked for."""

    epoch: int
    item: int  # index of the image
    size: int | None = None  # side of the network input, pixels; None: the data set's own


class EpochSampler(DistributedSampler[Any]):
    """Yields `SampleKey`s, so that a data set can seed its augmentation by epoch in any worker.

    Lightning calls `set_epoch`; an interrupted run that resumes in epoch 7 sees exactly the order and the augmentation
    of an uninterrupted one. Every process gets equally many indices: the order is filled up with repeats from its
    start, which a metric must remove by image id.

    It is a `DistributedSampler` because Lightning replaces samplers of any other class in a distributed run. Rank and
    number of processes are read when iterating, since loaders may be built before the processes are joined.

    With `sizes`, every batch is shown at one of them (multi-scale training, Redmon & Farhadi 2016, arXiv 1612.08242);
    which one depends on seed, epoch and the number of the batch, so that it is the same in all processes.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        seed: int,
        shuffle: bool,
        sizes: Sequence[int] | None = None,
        batch_size: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        self.count = len(dataset)  # type: ignore[arg-type]
        self.sizes = list(sizes) if sizes else None
        self.batch_size = batch_size
        self._skip = (-1, 0)

    @property
    def skipped(self) -> int:
        """Indices of this epoch and process that are left out, from its start."""
        epoch, count = self._skip
        return count if epoch == self.epoch else 0

    def skip(self, *, epoch: int, count: int) -> None:
        """Leave out the first `count` indices of one epoch, which were seen before an interruption."""
        self._skip = (epoch, count)

    def __iter__(self) -> Iterator[Any]:
        rank, world = _place()
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        padded = np.resize(order, len(self) * world)
        mine = [int(index) for index in padded[rank::world]]
        keys = [SampleKey(self.epoch, index, size) for index, size in zip(mine, self._size_of_each(), strict=True)]
        return iter(keys[self.skipped :])

    def __len__(self) -> int:
        """Indices for this process."""
        _, world = _place()
        return (self.count + world - 1) // world

    def _size_of_each(self) -> list[int | None]:
        if self.sizes is None:
            return [None] * len(self)
        # Apart from the order's generator by one more number, so that the order is the same with and without sizes.
        drawn = np.random.default_rng([self.seed, self.epoch, 1]).choice(self.sizes, len(self) // self.batch_size + 1)
        return [int(size) for size in np.repeat(drawn, self.batch_size)[: len(self)]]


def sample_batches(count: int, *, images: int, batch_size: int, seed: int) -> list[list[SampleKey]]:
    """A random sample of `count` images in batches, those of this process: the batches go round the processes.

    The same batches, whatever the number of processes; the last one may be smaller.
    """
    rank, world = _place()
    chosen = np.random.default_rng([seed, 2]).permutation(count)[:images]  # 2: apart from what EpochSampler draws
    keys = [SampleKey(0, int(index)) for index in chosen]
    return [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)][rank::world]


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
