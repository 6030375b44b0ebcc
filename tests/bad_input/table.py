"""One bad input a row, and what is asserted of all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fuzzing.readers import READERS, complaint

# The content of the bad file; what to make of that of the valid one; or what to do to the folder around it.
Content = str | bytes | Callable[[bytes], bytes | str]


class Row(NamedTuple):
    """A bad input.

    Attributes:
        reader: a key of `READERS`.
        content: of its file.
        said: what the message must contain.
        about: the name that the message must contain; None: that of the reader's file.
    """

    reader: str
    content: Content
    said: str
    about: str | None = None


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """The valid content with a part of it, which is there, in other words."""

    def changed(content: bytes) -> bytes:
        assert old.encode() in content, f"{old!r} is not in the example"
        return content.replace(old.encode(), new.encode("utf-8", "surrogateescape"), 1)

    return changed


def as_parameters(rows: dict[str, Row]) -> list[Any]:
    """For `pytest.mark.parametrize`."""
    return [pytest.param(row, id=name) for name, row in rows.items()]


def assert_refused(row: Row, folder: Path) -> None:
    """The reader's own error, in one line that names the file, and nothing left behind."""
    reader = READERS[row.reader]
    reader.prepare(folder)
    assert complaint(row.reader, folder) is None, "the example itself is not valid"
    file = folder / reader.file
    content = row.content(file.read_bytes()) if callable(row.content) else row.content
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = complaint(row.reader, folder)
    assert said is not None, "it was read"
    assert row.said in said
    assert (row.about or file.name) in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "something was left behind"
