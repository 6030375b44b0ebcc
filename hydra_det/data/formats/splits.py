"""Which images are trained on, watched and tested on: subsets, the held-out part, and the proof that none is shared."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hydra_det.data.samples import ImageRecord, Split
from hydra_det.types import InputError

MOST_HELD_OUT = 1000  # images; validation is for watching


def choose(split: Split, count: int | None, *, seed: int) -> Split:
    """A seeded subset, all images for None. Subsets are nested: 100 images are among the 200 of the same seed."""
    if count is None:
        return split
    if count > len(split.records):
        raise InputError(
            f"data.{split.name}_images: expected at most the {len(split.records)} images that there are (without those "
            f"held out for validation), got {count}"
        )
    return split.restricted(_shuffled(split, seed)[:count])


def hold_out(train: Split, count: int | None, *, seed: int) -> tuple[Split, Split]:
    """Split off `count` seeded images under the name `val`, None for a tenth but at most 1000.

    Returns (what is left, held out).

    They are the last of the order whose first `choose` takes: a small subset of the rest does not depend on `count`.
    """
    if count is None:
        count = min(len(train.records) // 10, MOST_HELD_OUT)
    if count == 0:
        return train, train.restricted([], name="val")
    if count >= len(train.records):
        raise InputError(f"data.val_images: expected fewer than the {len(train.records)} training images, got {count}")
    order = _shuffled(train, seed)
    return train.restricted(order[:-count]), train.restricted(order[-count:], name="val")


def check_classes(splits: Mapping[str, Split]) -> None:
    """Refuse splits whose category lists differ: a label would mean two things."""
    first = splits["train"]
    for split in splits.values():
        expected = list(zip(first.category_ids, first.class_names, strict=True))
        came = list(zip(split.category_ids, split.class_names, strict=True))
        if came != expected:
            odd = sorted(set(came) ^ set(expected))[0]
            raise InputError(
                f"{split.name}: expected the {len(expected)} categories of the training annotations, came {len(came)}, "
                f"only one of the two has {odd}; list the same categories in all annotation files"
            )


def check_overlap(splits: Mapping[str, Split]) -> None:
    """Refuse an image that is in two splits, as the same file or as another with the same bytes."""
    for name, path, other_name, other_path in shared_images(splits):
        raise InputError(
            f"{path} ({name}) and {other_path} ({other_name}) hold the same image: expected splits that "
            "share none; remove one, or set data.allow_overlap=true"
        )


def shared_images(splits: Mapping[str, Split]) -> Iterator[tuple[str, Path, str, Path]]:
    """Pairs of files of two splits that hold the same bytes: split, file, other split, other file."""
    by_size: dict[int, list[tuple[str, ImageRecord]]] = defaultdict(list)
    for name, split in splits.items():
        for record in split.records:
            by_size[record.byte_size].append((name, record))
    for group in by_size.values():
        # Only files of one length can be equal, and few need to be read.
        if len({name for name, _ in group}) > 1:
            yield from _equal(group)


def fingerprint(split: Split) -> str:
    """sha256 over what a split holds: annotations, file names, byte sizes, classes. Not where it lies.

    Pixels are not read, that would take minutes: a picture that was edited without a change of its size goes unnoticed.
    """
    content = {
        "ground_truth": split.ground_truth,
        "files": [(record.file_name, record.byte_size) for record in split.records],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shuffled(split: Split, seed: int) -> list[int]:
    """The image ids in an order in which the place of two ids does not depend on the others."""
    return sorted(split.image_ids, key=lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest())


def _equal(group: Iterable[tuple[str, ImageRecord]]) -> Iterator[tuple[str, Path, str, Path]]:
    first: dict[str, tuple[str, Path]] = {}  # by digest
    for name, record in group:
        other_name, other_path = first.setdefault(_digest(record.path), (name, record.path))
        if other_name != name:
            yield other_name, other_path, name, record.path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
