"""What a reader does not take as it stands in the files: counted by kind, each with the place where it was found.

Training says each kind in one line, the doctor lists every single one, and both get them from the same readers.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra_det.types import InputError

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        words: what was found and what was done about it, after a number.
        strict: `data.strict` refuses it, and the doctor calls it a problem; all else was read as it was meant.
    """

    words: str
    strict: bool = True


REFUSED = "refused"  # only the doctor goes on after one
KINDS: dict[str, Kind] = {
    REFUSED: Kind("items that training refuses"),
    "clipped": Kind("boxes reach outside their image (clipped)"),
    "dropped": Kind("boxes have no area or lie outside their image (dropped)"),
    "rounded": Kind("lines have shares outside [0, 1] by less than a pixel (clipped)", strict=False),
    "doubled": Kind("objects are listed twice, with the same box and class (taken once)"),
    "merged": Kind("image entries name a file a second time (taken as one image)"),
    "polygon": Kind("outlines are polygons (their boxes are taken)", strict=False),
    "orphan": Kind("label files belong to no image (passed over)"),
    "unlabelled": Kind("images have no label file, though most have one (taken as images without objects)"),
    "unlisted": Kind("images have no annotation file (left out)", strict=False),
    "shared": Kind("label files stand for two images (taken for both)"),
    "renamed": Kind("files name another image than the one beside them (the one that is there is taken)"),
    "area": Kind("areas contradict their boxes (AP of small, medium and large objects goes by them)"),
    "twin": Kind("images are there twice, as equal files"),
    "group": Kind("categories are unused groups that have the name of a class (left out)", strict=False),
    "empty": Kind("splits without one object (nothing can be found there)"),
    "turned": Kind("images are turned by their EXIF orientation, as detect.py turns them", strict=False),
    "sideways": Kind(
        "images are annotated as stored, not as their EXIF orientation shows them (kept so; detect.py turns them)",
        strict=False,
    ),
}


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        kind: a key of `KINDS`.
        text: where, and what it is.
        image_id: of the image that it concerns; None: none, or the set as a whole.
    """

    kind: str
    text: str
    image_id: int | None = None


class Notes:
    """Collects what a reader finds in one split.

    Args:
        source: the file or folder that is read, for messages.
        strict: `report` refuses what `data.strict` refuses.
        keep_going: note what is refused, and go on, instead of raising.
    """

    def __init__(self, source: Path | str, *, strict: bool = False, keep_going: bool = False) -> None:
        self.source = source
        self.strict, self.keep_going = strict, keep_going
        self.found: list[Finding] = []

    def add(self, kind: str, text: str, image_id: int | None = None) -> None:
        """Note something."""
        assert kind in KINDS
        self.found.append(Finding(kind, text, image_id))

    @contextmanager
    def item(self) -> Iterator[None]:
        """Around the reading of one file or line, which can be left out of what is listed."""
        try:
            yield
        except InputError as error:
            if not self.keep_going:
                raise
            self.add(REFUSED, str(error))  # of no image: it may not be among those that are left

    def report(self) -> None:
        """One line of the log for each kind, or the refusal of the first that `strict` refuses."""
        if self.keep_going:
            return
        for kind, text in counted(self.found):
            line = f"{self.source}: {text}"
            if self.strict and KINDS[kind].strict:
                raise InputError(f"{line}; correct them, or set data.strict=false")
            log.warning(line)


def sentences(found: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Each kind with its count, in words."""
    counts = Counter(finding.kind for finding in found)
    for kind, (words, _) in KINDS.items():
        if counts[kind]:
            yield kind, f"{counts[kind]} {words}"


def counted(found: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Each kind with its count and its first example, boxes that do not fit in one line."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in found:
        by_kind.setdefault(finding.kind, []).append(finding)
    unfit = by_kind.pop("clipped", []), by_kind.pop("dropped", [])
    if any(unfit):
        clipped, dropped = unfit
        yield (
            "clipped" if clipped else "dropped",
            f"expected boxes inside their images, {len(clipped)} reach outside (clipped) and {len(dropped)} have no "
            f"area or lie outside (dropped); the first is {(clipped or dropped)[0].text}",
        )
    for kind, findings in by_kind.items():
        yield kind, f"{len(findings)} {KINDS[kind].words}; the first is {findings[0].text}"
