"""Darknet's `.cfg` files: text to sections with options, each with the line that it stands on.

A section is `[name]` and `key=value` lines; what follows `#` or `;` is a comment, and spaces mean nothing
(pjreddie.com/darknet; parser.c, `read_cfg`). Every section behind the first is a layer, numbered from 0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra_det.files.machine_errors import is_of_machine
from hydra_det.types import InputError

NET = ("net", "network")
MOST_BYTES = 4 * 2**20  # the longest published files have a hundredth of it
LARGEST = 2**16  # of filters, sizes and the like


class Option(NamedTuple):
    """The text of an option without spaces, and its line, counted from 1."""

    text: str
    line: int


class Section(NamedTuple):
    """A section as it is written.

    Attributes:
        file: for messages.
        name: such as `convolutional`.
        line: of the name, counted from 1.
        number: Darknet's number of the layer; -1 of `[net]`.
        options: by key.
    """

    file: str
    name: str
    line: int
    number: int
    options: dict[str, Option]

    def __str__(self) -> str:
        """How messages name it."""
        return f"[{self.name}] at line {self.line}"

    def refuse(self, wanted: str, found: object, *, key: str | None = None) -> InputError:
        """The error of one line about this section, or about an option of it."""
        option = self.options.get(key or "")
        place = f"{key} of [{self.name}]" if key else f"[{self.name}]"
        layer = f" (layer {self.number})" if self.number >= 0 else ""
        line = option.line if option else self.line
        return InputError(f"{self.file}: line {line}: expected {wanted} for {place}{layer}, got {shown(found)}")

    def whole(self, key: str, default: int, *, least: int = 1) -> int:
        """A whole number."""
        option = self.options.get(key)
        if option is None:
            return default
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", option.text) or not least <= int(option.text) <= LARGEST:
            raise self.refuse(f"a whole number of at least {least}", option.text or "nothing", key=key)
        return int(option.text)

    def size(self, key: str, default: float) -> float:
        """A number above 0."""
        option = self.options.get(key)
        if option is None:
            return default
        (found,) = self._numbers(key) if option.text.count(",") == 0 else (0.0,)
        if not found > 0:
            raise self.refuse("a number above 0", option.text, key=key)
        return found

    def numbers(self, key: str) -> list[float]:
        """A list of numbers above 0, none where the option is missing."""
        found = self._numbers(key) if key in self.options else []
        if not all(value > 0 for value in found):
            raise self.refuse("numbers above 0", self.options[key].text, key=key)
        return found

    def wholes(self, key: str) -> list[int]:
        """A list of whole numbers, none where the option is missing."""
        found = self._numbers(key) if key in self.options else []
        if not all(value == int(value) for value in found):
            raise self.refuse("whole numbers", self.options[key].text, key=key)
        return [int(value) for value in found]

    def word(self, key: str, default: str, known: Sequence[str]) -> str:
        """One of the words that are known."""
        option = self.options.get(key)
        found = default if option is None else option.text
        if found not in known:
            raise self.refuse(f"one of {', '.join(known)}", found or "nothing", key=key)
        return found

    def check_options(self, used: Sequence[str], ignored: Sequence[str], fixed: Mapping[str, str]) -> None:
        """Refuse options that nobody here knows, and those that are known with one value only.

        Args:
            used: that are read.
            ignored: that change training in Darknet alone.
            fixed: with the only value that is supported.
        """
        for key, option in self.options.items():
            if key in fixed and option.text != fixed[key]:
                raise self.refuse(f"{fixed[key]}, all that is supported,", option.text, key=key)
            if key not in {*used, *ignored, *fixed}:
                known = ", ".join(used) or "none"
                raise InputError(
                    f"{self.file}: line {option.line}: expected an option of [{self.name}] that is known ({known}), "
                    f"got {shown(f'{key}={option.text}')}; take it out if the network does not depend on it"
                )

    def _numbers(self, key: str) -> list[float]:
        text = self.options[key].text
        parts = text.removesuffix(",").split(",")
        if not all(re.fullmatch(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})", part) for part in parts):
            raise self.refuse("numbers, separated by commas", text or "nothing", key=key)
        return [float(part) for part in parts]


def shown(found: object) -> str:
    """What was found, in a message of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(found))[:60]


def read_cfg(cfg: str | Path) -> list[Section]:
    """The sections of a file, or of its text where that has more than a line; the first one is `[net]`.

    Raises:
        InputError: it cannot be read, or is not what a `.cfg` file is; the message names the line.
    """
    file, text = ("cfg", cfg) if isinstance(cfg, str) and "\n" in cfg else (str(cfg), _text(Path(cfg)))
    sections: list[Section] = []
    for line, content in _lines(text):
        if match := re.fullmatch(r"\[(\w+)\]", content):
            sections.append(Section(file, shown(match[1].lower()), line, len(sections) - 1, {}))
            continue
        key, equals, value = content.partition("=")
        if not (equals and re.fullmatch(r"[\w.]+", key)) or not sections:
            wanted = "[section] or key=value" if sections else "[net] as the first line"
            raise InputError(f"{file}: line {line}: expected {wanted}, got {shown(content)}")
        options = sections[-1].options
        if key in options:
            raise InputError(
                f"{file}: line {line}: expected every option once in [{sections[-1].name}], got {shown(key)} again, as "
                f"at line {options[key].line}"
            )
        options[key] = Option(value, line)
    if not sections or sections[0].name not in NET:
        found = str(sections[0]) if sections else "nothing"
        raise InputError(f"{file}: expected [net] as the first section, got {found}; is it a .cfg file of Darknet?")
    return sections


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and content of every line that says something, without comments and spaces."""
    for number, line in enumerate(text.splitlines(), start=1):
        content = "".join(re.split(r"[#;]", line, maxsplit=1)[0].split())
        if content:
            yield number, content


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: expected the text of a .cfg file, got {path.stat().st_size:,} bytes")
        return path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected the text of a .cfg file, got other bytes; is it the .weights?") from error
    except OSError as error:
        if is_of_machine(error):
            raise
        raise InputError(
            f"{path}: expected a .cfg file of Darknet, could not read it ({error.strerror}); check the path"
        ) from error
