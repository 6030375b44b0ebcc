"""Which texts and whole numbers out of JSON can be written again: into files, tables and names."""

LARGEST = 2**63  # whole numbers in tables and files of results, ids among them, are below it: they have 64 bits


def is_text(value: str) -> bool:
    r"""Whether files can hold it.

    No name of a file has NUL, and no encoding half a surrogate pair, which JSON can spell. Empty text is text; whoever
    needs a name asks for one.

    Example:
        >>> [is_text(text) for text in ("", "cat", "a\0b", "\ud800")]
        [True, True, False, False]
    """
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False
