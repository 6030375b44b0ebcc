"""A `DataLoader` that knows how long it was waited for, and how far an epoch is."""

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from hydra_det.data.sampler import EpochSampler


class TimedLoader(DataLoader[Any]):
    """Counts the seconds between being asked for a batch and having it, and the batches of an epoch.

    With workers that keep up the time is next to nothing; without any it is the whole cost of loading. Lightning puts
    the state into its checkpoints, and an epoch that was interrupted goes on behind the batches that were given out.
    """

    waited = 0.0  # seconds, over all epochs
    _given = 0  # batches of the epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._given = self._skipped()
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given out."""
        return {"epoch": getattr(self.sampler, "epoch", 0), "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the batches that were given out, the next time that epoch is gone through."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.skip(epoch=state["epoch"], count=state["batches"] * (self.batch_size or 1))

    def _skipped(self) -> int:
        skipped = self.sampler.skipped if isinstance(self.sampler, EpochSampler) else 0
        return skipped // (self.batch_size or 1)
