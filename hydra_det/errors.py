"""What is raised when the user, and not the program, is wrong."""

import re
from collections.abc import Iterator, Sequence


class InputError(ValueError):
    """Something the user gave is wrong: a file, a value, a combination.

    The message is one line that says what was expected, what came, which item, and what to do. The scripts print that
    line and exit with 1; every other exception is a bug of ours and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(single_line(message))


class NotFiniteError(InputError):
    """NaN or infinity where a number should be.

    Args:
        message: as of every `InputError`.
        positions: of the images concerned in their batch, from 0; none where that is not known.
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


def chain(error: BaseException | None, *, contexts: bool = False) -> Iterator[BaseException]:
    """An exception and those that it was raised from, each once: `raise cause from wrapper` makes a ring of a chain.

    Args:
        error: where to begin.
        contexts: go on to what was under way where an exception was not raised from another one.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (error.__context__ if contexts else None)


def as_fraction(value: object) -> str:
    """A value that came where a fraction is expected; what looks like a percentage is asked about.

    Example:
        >>> as_fraction(75)
        '75; did you mean 0.75?'
        >>> as_fraction(1.5)
        '1.5'
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2 <= value < 100:
        return str(value)
    return f"{value}; did you mean {value / 100:g}?"


def as_distance(value: object) -> str:
    """A value that came where a distance between images in [0, 1] is expected; levels of 255 are asked about.

    Example:
        >>> as_distance("8/255")
        "'8/255'; did you mean 0.0314?"
    """
    levels = re.fullmatch(r"(\d+(?:\.\d+)?) *(?:/ *255)?", str(value).strip())
    if levels is None or not 1 <= float(levels[1]) <= 255:
        return repr(value)
    return f"{value!r}; did you mean {float(levels[1]) / 255:.3g}?"


def single_line(text: str) -> str:
    r"""Text on one line that a terminal and a UTF-8 file can take.

    Messages quote names out of files of strangers: a line end there would make a second line of the log, an escape
    sequence would speak to the terminal, and half a surrogate pair cannot be written.

    Example:
        >>> single_line("a\nb\x1b[1m")
        'a b\\x1b[1m'
    """
    words = " ".join(text.split())
    return words if words.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
