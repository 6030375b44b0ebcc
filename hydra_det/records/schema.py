"""A value out of JSON against typed dictionaries: what is wrong is said by its key."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints, is_typeddict

from hydra_det.errors import single_line
from hydra_det.files.plain_values import LARGEST, is_text

CHECKSUM = "sha256"  # in a file of ours, the key of the sha256 of all other keys


class RecordError(ValueError):
    """A record that cannot be read or written. One line: the file, the key, what was expected, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(single_line(message))


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
            raise RecordError(f"{path}: {prefix + key:.200}: missing; run the job again to write it anew")


def read_checked(path: str | Path, expected: Any, *, what: str) -> dict[str, Any]:
    """Read a JSON object that has the keys of a typed dictionary.

    Args:
        path: of the file.
        expected: the typed dictionary.
        what: the file is, for the message.

    Raises:
        RecordError: The file is none; the message names the file and the key.
    """
    payload = read_object(path, what=what)
    check_keys(payload, get_type_hints(expected), expected.__required_keys__, str(path), "")
    return payload


def read_object(path: str | Path, *, what: str) -> dict[str, Any]:
    """Read a JSON object that `check_plain` accepts.

    Args:
        path: of the file.
        what: the file is, for the message.

    Raises:
        RecordError: The file is none.
    """
    try:
        payload = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(payload, dict):
            refuse(str(path), "the whole file", "a JSON object", payload)
        check_plain(payload, str(path))
    except RecordError:
        raise
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); is this the folder of a finished run?"
        raise RecordError(f"{path}: {reason}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise RecordError(f"{path}: expected {what}, not JSON ({error}); run the job again to write it anew") from error
    return payload


def check_plain(value: Any, path: str) -> None:
    """Raise a `RecordError` where a value holds NaN, infinity, NUL or half a surrogate pair.

    JSON does not know the first two, no name of a file holds the third, and no UTF-8 file, so no report, the last.
    """
    for where, expected in _not_plain(value, ""):
        raise RecordError(f"{path}: {where:.200}: expected {expected}")


def checksum(payload: dict[str, Any]) -> str:
    """sha256 of an object as JSON without blanks, keys in order, to be kept in its file under the key `CHECKSUM`."""
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def refuse(path: str, where: str, expected: str, value: Any) -> NoReturn:
    """Raise the `RecordError` for a value that is not what was expected."""
    raise RecordError(
        f"{path}: {where:.200}: expected {expected}, got {value!r:.60}; run the job again to write it anew"
    )


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
    if isinstance(value, int) and abs(value) >= LARGEST:
        refuse(path, where, "a number of at most 64 bits", "a longer one")
    if is_typeddict(expected):
        check_keys(value, get_type_hints(expected), expected.__required_keys__, path, f"{where}.")
    elif plain in (list, dict):
        for key, item in _items(value):
            _check(item, arguments[-1], path, f"{where}.{key}")


def _not_plain(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Where a value cannot be written, and what was expected there."""
    if isinstance(value, dict | list | tuple):
        for key, item in _items(value):
            inner = f"{where}.{key}" if where else str(key)
            if isinstance(key, str) and not is_text(key):
                yield inner, "a key that UTF-8 can hold"
            yield from _not_plain(item, inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield where, "a finite number; write None for a value that does not exist"
    elif isinstance(value, str) and not is_text(value):
        yield where, "text that UTF-8 can hold"


def _items(value: dict[str, Any] | Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)
