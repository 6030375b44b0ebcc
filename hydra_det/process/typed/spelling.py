"""Which word a misspelt one may have been."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

MOST = 5  # words suggested at once
CLOSE = 0.75  # how alike whole keys have to be; they share their first parts anyhow


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' where a known word is close, else nothing."""
    return asked(difflib.get_close_matches(word, list(known), n=1))


def asked(words: list[str]) -> str:
    """The question after the names of one or several things.

    Example:
        >>> asked(["a", "b", "c"])
        '; did you mean a, b or c?'
    """
    if not words:
        return ""
    return f"; did you mean {' or '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)}?"


def keys_of(config: Mapping[str, Any], start: str = "") -> list[str]:
    """Every key of nested mappings, with dots: those of the branches, too."""
    found = []
    for name, part in config.items():
        found.append(f"{start}{name}")
        if isinstance(part, Mapping):
            found += keys_of(part, f"{start}{name}.")
    return found


def close_keys(key: str, known: Iterable[str]) -> list[str]:
    """Keys that a misspelt one may have been: a neighbour, the same word elsewhere, or one that reads alike.

    Args:
        key: with dots.
        known: all keys that there are, with dots, the likelier ones first.

    Example:
        >>> close_keys("prune.ration", ["prune", "prune.ratio", "seed"])
        ['prune.ratio']
        >>> close_keys("epochs", ["stage.pretrain.epochs", "stage.finetune.epochs"])
        ['stage.pretrain.epochs', 'stage.finetune.epochs']
    """
    every = list(known)
    branch, _, name = key.rpartition(".")
    neighbours = {other.rpartition(".")[2]: other for other in every if other.rpartition(".")[0] == branch}
    elsewhere = [other for other in every if other.rpartition(".")[2] == name and not branch]
    for near in (
        [neighbours[word] for word in difflib.get_close_matches(name, list(neighbours), n=1, cutoff=CLOSE)],
        elsewhere[:MOST],
        [neighbours[word] for word in difflib.get_close_matches(name, list(neighbours), n=1)],
    ):
        if near:
            return near
    return difflib.get_close_matches(key, every, n=1, cutoff=CLOSE)
