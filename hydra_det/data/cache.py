"""Decoded images in memory, shared by the worker processes of a loader."""

import logging
import mmap
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import numpy as np

from hydra_det.data.samples import Split
from hydra_det.types import Pixels

CACHE_LIMIT = 2 * 2**30  # bytes of decoded images, all splits together

log = logging.getLogger(__name__)


class PixelCache:
    """Keeps what was decoded once, whichever worker process decoded it.

    The memory is an anonymous shared mapping: forked workers see one another's images, pages are taken only as images
    arrive, and it does not count against the small /dev/shm of containers. Where workers are spawned and not forked,
    each gets an empty cache of its own.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Reserve room for images of these (width, height)."""
        self.sizes = list(sizes)
        self._offsets = [0, *accumulate(width * height * 3 for width, height in self.sizes)]
        # The first bytes are flags: 1 where the image is there.
        self._memory = np.frombuffer(mmap.mmap(-1, len(self.sizes) + self._offsets[-1] + 1), dtype=np.uint8)

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[list[tuple[int, int]]]]:
        return PixelCache, (self.sizes,)

    def get(self, index: int, load: Callable[[], Pixels]) -> Pixels:
        """The image, decoded by `load` when it is asked for the first time."""
        width, height = self.sizes[index]
        start = len(self.sizes) + self._offsets[index]
        kept = self._memory[start : start + width * height * 3].reshape(height, width, 3)
        if not self._memory[index]:
            kept[:] = load()
            # Set last: another process that reads 0 decodes for itself and writes the same bytes.
            self._memory[index] = 1
        return kept

    @staticmethod
    def bytes_needed(sizes: Sequence[tuple[int, int]]) -> int:
        """Memory for images of these (width, height) when all are there."""
        return sum(width * height * 3 + 1 for width, height in sizes)


def reserve_caches(splits: Mapping[str, Split], *, name: str) -> dict[str, PixelCache]:
    """A cache for every split of a data set; none where all of them together are too large.

    Args:
        splits: by name.
        name: of the data set, for the log.
    """
    sizes = {key: [(record.width, record.height) for record in split.records] for key, split in splits.items()}
    needed = sum(PixelCache.bytes_needed(of_split) for of_split in sizes.values())
    if needed > CACHE_LIMIT:
        log.info("%s: images are decoded anew each epoch, %.1f GB are too much to keep", name, needed / 1e9)
        return {}
    return {key: PixelCache(of_split) for key, of_split in sizes.items()}
