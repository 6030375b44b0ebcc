"""A `DataLoader` that knows how long it was waited for."""

import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader


class TimedLoader(DataLoader[Any]):
    """Counts the seconds between being asked for a batch and having it.

    With workers that keep up this is next to nothing; without any it is the whole cost of loading.
    """

    waited = 0.0  # seconds, over all epochs

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            yield batch
