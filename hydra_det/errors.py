"""What is raised when the user, and not the program, is wrong."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave is wrong: a file, a value, a combination.

    The message is one line that says what was expected, what came, which item, and what to do. The scripts print that
    line and exit with 1; every other exception is a bug of ours and keeps its traceback.
    """


class NotFiniteError(InputError):
    """NaN or infinity where a number should be.

    Args:
        message: as of every `InputError`.
        positions: of the images concerned in their batch, from 0; none where that is not known.
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)
