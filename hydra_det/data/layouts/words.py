"""The words for splits, and what follows where a set has not all of them."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

Part = TypeVar("Part")

TRAIN, VAL, TEST = "train", "val", "test"
# As tools write them; also with capitals.
WORDS = {
    TRAIN: ("train", "training"),
    VAL: ("val", "valid", "validation"),
    TEST: ("test", "testing"),
}


def spelled() -> Iterator[tuple[str, str]]:
    """Every split with every word for it, small and with a capital."""
    for split, words in WORDS.items():
        for word in words:
            yield split, word
            yield split, word.capitalize()


def is_enough(parts: Mapping[str, Part], *, testing: bool) -> bool:
    """Whether the splits of a layout are a data set: with training images, or, to test on, with any."""
    return TRAIN in parts or (testing and bool(parts))


def with_test(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Where a set has two splits, the second is the one that is tested on: nothing has been chosen by it."""
    found = dict(parts)
    if VAL in found and TEST not in found:
        found[TEST] = found.pop(VAL)
    return found
