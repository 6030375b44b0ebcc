"""A value out of JSON against typed dictionaries: what is wrong is said by its key."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints, is_typeddict


class RecordError(ValueError):
    """A record that cannot be read or written. One line: the file, the key, what was expected, what to do."""


def check_keys(value: dict[str, Any], hints: dict[str, Any], required: frozenset[str], path: str, prefix: str) -> None:
    """Check the known keys of an object; others are left alone.

    Args:
        value: the object.
        hints: the type of every known key: a typed dictionary, list, dict, optional or plain type.
        required: keys that must be there.
        path: of the file, for the message.
        prefix: the keys that lead here, for the message: `"latency.dense."`.

    Raises:
        RecordError: a key is missing or its value has another type.
    """
    for key, hint in hints.items():
        if key in value:
            _check(value[key], hint, path, prefix + key)
        elif key in required:
            raise RecordError(f"{path}: {prefix}{key}: missing; run the job again to write it anew")


def read_checked(path: str | Path, expected: Any, *, what: str) -> dict[str, Any]:
    """Read a JSON object that has the keys of a typed dictionary.

    Args:
        path: of the file.
        expected: the typed dictionary.
        what: the file is, for the message.

    Raises:
        RecordError: The file is none; the message names the file and the key.
    """
    try:
        payload = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: expected {what}, could not read it ({error})") from error
    if not isinstance(payload, dict):
        refuse(str(path), "the whole file", "a JSON object", payload)
    check_keys(payload, get_type_hints(expected), expected.__required_keys__, str(path), "")
    return payload


def check_finite(value: Any, path: str) -> None:
    """Raise a `RecordError` where a value holds NaN or infinity, which JSON does not know."""
    for where in _non_finite(value, ""):
        raise RecordError(f"{path}: {where}: expected a finite number; write None for a value that does not exist")


def refuse(path: str, where: str, expected: str, value: Any) -> NoReturn:
    """Raise the `RecordError` for a value that is not what was expected."""
    raise RecordError(f"{path}: {where}: expected {expected}, got {value!r:.60}; run the job again to write it anew")


def _check(value: Any, expected: Any, path: str, where: str) -> None:
    """Raise a `RecordError` unless the value has the type: a typed dictionary, list, dict, optional or plain type."""
    kind, arguments = get_origin(expected), get_args(expected)
    if expected is Any or (value is None and NoneType in arguments):
        return
    if NoneType in arguments:
        return _check(value, arguments[0], path, where)
    plain = dict if is_typeddict(expected) else kind or expected
    accepted: Any = (int, float) if plain is float else plain
    # bool is an int to Python, but `true` is not a count.
    if not isinstance(value, accepted) or (isinstance(value, bool) and plain is not bool):
        refuse(path, where, plain.__name__, value)
    if is_typeddict(expected):
        check_keys(value, get_type_hints(expected), expected.__required_keys__, path, f"{where}.")
    elif plain in (list, dict):
        for key, item in _items(value):
            _check(item, arguments[-1], path, f"{where}.{key}")


def _non_finite(value: Any, where: str) -> Iterator[str]:
    """Where a value holds NaN or infinity, which JSON does not know."""
    if isinstance(value, dict | list | tuple):
        for key, item in _items(value):
            yield from _non_finite(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield where


def _items(value: dict[str, Any] | Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)
