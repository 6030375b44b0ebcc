"""Which images are trained on, watched and tested on: subsets, the held-out part, and the proof that none is shared."""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hydra_det.data.samples import ImageRecord, Split
from hydra_det.types import InputError

log = logging.getLogger(__name__)

WORDS = {"val": "validation", "train": "training"}
SHARE = 0.2  # of a set without splits, for each of test and validation
MOST_HELD_OUT = 1000  # images; validation is for watching


class Choice(NamedTuple):
    """Which of the images are used.

    Attributes:
        counts: images by split; None is what `DetectionData` says of it.
        share: of all images, for each of validation and test that the set does not have; None: see `hold_out`.
        by_content: see `hold_out`.
        test_key: that names the test images, for messages.
        looks: who asks only looks: a set without test images is not refused.
    """

    counts: Mapping[str, int | None]
    share: float | None
    by_content: bool
    test_key: str
    looks: bool = False


def choose_all(splits: Mapping[str, Split], choice: Choice, *, seed: int) -> dict[str, Split]:
    """Training, validation and test images: what the set has of each, or a part of the training images."""
    found, whole, counts = dict(splits), len(splits["train"].records), choice.counts
    if "test" not in found and choice.share is None and choice.looks:
        log.warning("no test images: looked at as with data.split=%g, which training needs then", SHARE)
        choice = choice._replace(share=SHARE)
    if "test" not in found:
        if choice.share is None:
            raise InputError(
                f"{choice.test_key}: expected test images, the set has none; name them, or hold some out by "
                "data.split=0.2"
            )
        found["train"], found["test"] = hold_out(
            found["train"], part_of(whole, choice.share), seed=seed, name="test", by_content=choice.by_content
        )
    if "val" in found:
        found["val"] = choose(found["val"], counts["val"], seed=seed)
    else:
        count = counts["val"]
        if count is None and choice.share is not None:
            count = part_of(whole, choice.share)
        found["train"], found["val"] = hold_out(found["train"], count, seed=seed, by_content=choice.by_content)
    for name in ("train", "test"):
        found[name] = choose(found[name], counts[name], seed=seed)
    return found


def test_alone(splits: Mapping[str, Split], choice: Choice, *, seed: int) -> dict[str, Split]:
    """The test images and no others; of a set that has none, its validation images, or else all that it has."""
    if "test" in splits or choice.share is None:
        whole = next(splits[name] for name in ("test", "val", "train") if name in splits)
        if whole.name != "test":
            log.info("no test images of its own (%s): its %s images are scored", choice.test_key, WORDS[whole.name])
        test = choose(whole.restricted(whole.image_ids, name="test"), choice.counts["test"], seed=seed)
    else:
        test = choose_all(splits, choice, seed=seed)["test"]
    return {"train": test.restricted([], name="train"), "val": test.restricted([], name="val"), "test": test}


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


def at_most(split: Split, count: int, *, seed: int) -> Split:
    """The seeded subset of `choose`, or all images where there are no more; a line says how many of how many."""
    there, name = len(split.records), WORDS.get(split.name, split.name)
    if count > there:
        log.warning("images: expected at most the %d %s images, got %d; all are used", there, name, count)
    else:
        log.info("%d of %d %s images", count, there, name)
    return choose(split, min(count, there), seed=seed)


def hold_out(
    train: Split, count: int | None, *, seed: int, name: str = "val", by_content: bool = True
) -> tuple[Split, Split]:
    """Split off `count` seeded images: None for a tenth but at most 1000.

    Returns (what is left, held out).

    They are the last of the order whose first `choose` takes: a small subset of the rest does not depend on `count`.

    Args:
        train: what they are taken from.
        count: of images.
        seed: of the order.
        name: of the part that is split off.
        by_content: an image that is as well in what is left is not held out, so that equal files stay together.
    """
    if count is None:
        count = min(len(train.records) // 10, MOST_HELD_OUT)
    if count == 0:
        return train, train.restricted([], name=name)
    if count >= len(train.records):
        raise InputError(
            f"data.{name}_images: expected fewer than the {len(train.records)} training images, got {count}"
        )
    order = _shuffled(train, seed)
    left, held = train.restricted(order[:-count]), train.restricted(order[-count:], name=name)
    if by_content:
        twins = {path for _, _, _, path in shared_images({"train": left, name: held})}
        kept = [record.image_id for record in held.records if record.path not in twins]
        left, held = train.restricted({*train.image_ids} - {*kept}), train.restricted(kept, name=name)
    return left, held


def part_of(images: int, share: float) -> int:
    """How many images a share is, at least one of two."""
    return min(max(1, round(share * images)), max(0, images - 1))


def check_classes(splits: Mapping[str, Split]) -> None:
    """Refuse splits whose category lists differ: a label would mean two things."""
    first = splits.get("train", next(iter(splits.values())))
    for split in splits.values():
        expected = list(zip(first.category_ids, first.class_names, strict=True))
        came = list(zip(split.category_ids, split.class_names, strict=True))
        if came != expected:
            odd = sorted(set(came) ^ set(expected))[0]
            raise InputError(
                f"{split.name}: expected the {len(expected)} categories of the training annotations, got {len(came)}, "
                f"only one of the two has {odd}; list the same categories in all annotation files"
            )


def check_objects(train: Split) -> None:
    """Refuse training images without one object: nothing can be learnt from them."""
    if not any(len(record.boxes) for record in train.records):
        images = len(train.records)
        raise InputError(
            f"{train.name}: expected objects in the training images, there is none in {images}; look at the set with "
            "doctor.py: are the labels in another folder?"
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


def equal_files(split: Split) -> Iterator[tuple[Path, Path]]:
    """Pairs of files of one split that hold the same bytes."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for record in split.records:
        by_size[record.byte_size].append(record.path)
    for paths in by_size.values():
        first: dict[str, Path] = {}  # by digest
        for path in paths if len(paths) > 1 else ():
            other = first.setdefault(_digest(path), path)
            if other != path:
                yield other, path


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
