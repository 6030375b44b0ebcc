"""Whether every picture can be decoded: asked once before training, and remembered."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from hydra_det.data.checks.findings import KINDS, REFUSED, Finding, counted
from hydra_det.data.images import look
from hydra_det.data.samples import ImageRecord, Split
from hydra_det.files.atomic import write_atomically
from hydra_det.types import InputError

THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes outside the interpreter's lock

log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """What came of one picture.

    Attributes:
        record: of the picture.
        findings: why it cannot be read, or how its camera turned it; none of most.
    """

    record: ImageRecord
    findings: list[Finding]

    @property
    def refused(self) -> list[Finding]:
        """Why it cannot be read."""
        return [finding for finding in self.findings if finding.kind == REFUSED]


def decode_all(
    records: Sequence[ImageRecord], *, headers: bool = False, memory: "Memory | None" = None
) -> Iterator[Decoded]:
    """Decode pictures in several threads; in the order of the records.

    Args:
        records: of the pictures.
        headers: read the headers only, which takes a hundredth of the time and sees no file that was cut off.
        memory: takes what could be decoded, and is written at the end.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        for decoded in pool.map(lambda record: _decoded(record, headers=headers), records):
            if memory:
                memory.keep(decoded)
            yield decoded
    if memory and records:
        memory.write()


def say_decoding(splits: Mapping[str, Split], folder: Path, *, name: str) -> None:
    """`check_decoding` of all pictures of a data set; what it says of them goes to the log, a line a kind."""
    records = [record for split in splits.values() for record in split.records]
    for _, text in counted(check_decoding(records, folder)):
        log.info("%s: %s", name, text)


def check_decoding(records: Sequence[ImageRecord], folder: Path) -> list[Finding]:
    """Decode what was not decoded before, and say how the cameras turned the pictures.

    Args:
        records: of the pictures.
        folder: of the `Memory`.

    Raises:
        InputError: a picture that cannot be decoded; how many others there are is said as well.
    """
    memory = Memory(folder, records)
    asked = [record for record in records if memory.of(record) is None]
    if asked:
        log.info("decoding %d pictures once, to see that all can be read", len(asked))
    broken: list[Finding] = []
    for decoded in decode_all(asked, memory=memory):
        broken += decoded.refused
    if broken:
        others = f" (and {len(broken) - 1} other pictures; doctor.py lists them)" if len(broken) > 1 else ""
        raise InputError(f"{broken[0].text}{others}")
    return [finding for record in records for finding in memory.of(record) or []]


class Memory:
    """What is known of files that could be decoded, by their path, size and time of change.

    Args:
        folder: that keeps a file for each set of folders with pictures.
        records: of the pictures that will be asked for.
    """

    def __init__(self, folder: Path, records: Sequence[ImageRecord]) -> None:
        places = sorted({str(record.path.parent.resolve()) for record in records})
        self.file = folder / f"{_digest(places)}.json"
        self.known = _read(self.file)

    def of(self, record: ImageRecord) -> list[Finding] | None:
        """What was found when it was decoded, None: it was not."""
        found = self.known.get(_key(record))
        return None if found is None else [Finding(kind, text, record.image_id) for kind, text in found]

    def keep(self, decoded: Decoded) -> None:
        """Remember a picture that could be decoded."""
        if not decoded.refused:
            self.known[_key(decoded.record)] = [[finding.kind, finding.text] for finding in decoded.findings]

    def write(self) -> None:
        """Put it on the disk. Where that cannot be written, the next run decodes the pictures again."""
        try:
            write_atomically(self.file, json.dumps(self.known))
        except OSError as error:
            log.info("%s: cannot be written (%s): pictures are decoded again next time", self.file, error.strerror)


def _decoded(record: ImageRecord, *, headers: bool) -> Decoded:
    try:
        turned = look(record.path, size=(record.width, record.height), headers=headers)
    except InputError as error:
        return Decoded(record, [Finding(REFUSED, str(error), record.image_id)])
    return Decoded(record, [Finding(turned.kind, f"{record.path}: {turned.text}", record.image_id)] if turned else [])


def _key(record: ImageRecord) -> str:
    try:
        changed = record.path.stat().st_mtime_ns
    except OSError:
        changed = -1  # it is gone: decoding it says so
    return _digest([str(record.path.resolve()), record.byte_size, changed, record.width, record.height])


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:24]


def _read(file: Path) -> dict[str, list[list[str]]]:
    """What is known; nothing where the file is not there or not ours: then pictures are decoded again."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: found for key, found in content.items() if _is_known(found)} if isinstance(content, dict) else {}


def _is_known(found: object) -> bool:
    return isinstance(found, list) and all(
        isinstance(item, list) and len(item) == 2 and all(isinstance(text, str) for text in item) and item[0] in KINDS
        for item in found
    )
