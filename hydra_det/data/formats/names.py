"""Class names by number, and data yamls: what YOLO's tools say of a data set beside its labels."""

from pathlib import Path
from typing import Any

import yaml

from hydra_det.files.plain_yaml import plain_scalars
from hydra_det.types import InputError

ENCODING = "utf-8-sig"  # some editors begin a file with a mark, which is not part of the first word
YAML = (".yaml", ".yml")
SHAPE = "expected class names as a list or as 0: ..., 1: ... under 'names'"


def read_names(path: Path) -> list[str]:
    """Class names by number, from a file with a name a line or from the `names` of a data yaml."""
    of_yaml = path.suffix in YAML
    names = _of_yaml(path) if of_yaml else _of_lines(path)
    if not names:
        raise InputError(
            f"{path}: expected class names {'under ' + repr('names') if of_yaml else 'a line each'}, found none"
        )
    for number, name in enumerate(names):
        # Left out, every class behind it would get the number of the one before.
        if not name:
            place = f"names[{number}]" if of_yaml else f"line {number + 1}"
            raise InputError(f"{path}: {place}: expected the name of class {number}, got none; name it or remove it")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: expected distinct class names, got {', '.join(names)[:200]}")
    return names


def read_data_yaml(path: Path) -> dict[str, Any]:
    """What a data yaml says, none of it checked but that it is a mapping."""
    text = read_text(path, what="a file with class names")
    try:
        for _ in plain_scalars(text, path):
            pass
        content = yaml.safe_load(text) or {}
    except InputError:
        raise
    # The last two: a date that does not exist, and nesting without end.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {SHAPE}; correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: {SHAPE}; correct the file")
    return content


def read_text(path: Path, *, what: str) -> str:
    """The text of a file."""
    try:
        return path.read_text(ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{path}: expected {what}, could not read it ({reason})") from error


def _of_lines(path: Path) -> list[str]:
    names = [line.strip() for line in read_text(path, what="a file with class names").splitlines()]
    while names and not names[-1]:
        names.pop()
    return names


def _of_yaml(path: Path) -> list[str]:
    """The names of a data yaml, which lists them or numbers them from 0."""
    found = read_data_yaml(path).get("names", [])
    if not isinstance(found, list | dict):
        raise InputError(f"{path}: {SHAPE}, got {type(found).__name__}")
    try:
        # Some tools write the numbers in quotes.
        numbered = (
            {int(key): name for key, name in found.items()} if isinstance(found, dict) else dict(enumerate(found))
        )
        names = [numbered[number] for number in range(len(found))]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: {SHAPE}; correct the file") from error
    for number, name in enumerate(names):
        # YAML reads a bare `no` as false and `null` as nothing: a class of the name False would be a surprise.
        if not isinstance(name, str | int) or isinstance(name, bool):
            kind = type(name).__name__
            raise InputError(f"{path}: names[{number}]: expected text, got {kind}; put it in quotes")
    return [str(name).strip() for name in names]
