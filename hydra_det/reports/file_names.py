"""Configurations as parts of names of files."""

from collections.abc import Iterable

LONGEST = 80  # letters


def file_names(names: Iterable[str]) -> dict[str, str]:
    """For every name small letters, digits and single underlines; no two alike.

    Example:
        >>> file_names(["DeepLIFT, kernel", "deeplift: kernel", "/?"])
        {'DeepLIFT, kernel': 'deeplift_kernel', 'deeplift: kernel': 'deeplift_kernel_2', '/?': 'unnamed'}
    """
    made: dict[str, str] = {}
    for name in names:
        kept = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name.lower())
        plain = free = "_".join(kept.split())[:LONGEST] or "unnamed"
        number = 1
        while free in made.values():
            number += 1
            free = f"{plain}_{number}"
        made[name] = free
    return made
