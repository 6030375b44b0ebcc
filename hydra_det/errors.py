"""What is raised when the user, and not the program, is wrong."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a value, a combination.

    The message is one line that says what was expected, what came, which item, and what to do. The scripts print that
    line and exit with 1; every other exception is a bug of ours and keeps its traceback.
    """
