"""How a valid file is spoilt: byte by byte, word by word, and value by value where it is JSON."""

import json
import math
import re
from random import Random
from typing import Any

WORDS = (
    "nan", "inf", "-Infinity", "1e400", "-1", "0", "1_0", "0x10", "٣", "9" * 400, "9" * 5000, "1.5", "a" * 3000, "",
    "../../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "\x1b[31m", "\ufeff", "<script>", "=1+1", "${oc.env:HOME}",
    "${x}", "???", "&a;", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "<?xml version='1.0' encoding='utf-7'?>", "&a [1, 2]", "*a",
    "!!python/object/apply:os.system ['true']", "2001-99-99", "null", "true", "[" * 2000, "{" * 2000, "<a>" * 2000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 1.5, 2**31, 2**63, 10**400, math.nan, math.inf, 1e308, -0.0, 5e-324, "", "cat", "\ud800",
    "a\0b", "../../x", "/etc/passwd", "a\nb", "x" * 3000, "nan", [], {}, [[[]]], [1, 2], {"a": 1},
    {"_target_": "os.system"},
)  # fmt: skip
BYTES = (
    b"\x00",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x80",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\n",
)


def spoil(content: bytes, random: Random) -> bytes:
    """One change; the same generator makes the same one."""
    kind = random.random()
    if kind < 0.4:
        try:
            return _json(content, random)
        except (ValueError, RecursionError):
            pass
    return _words(content, random) if kind < 0.7 else _bytes(content, random)


def _json(content: bytes, random: Random) -> bytes:
    whole = json.loads(content)
    # Every container with one of its keys or places; a file seldom has more than some thousand.
    places = list(_places(whole))
    if not places:
        return json.dumps(random.choice(VALUES)).encode()
    inside, key = random.choice(places)
    change = random.randrange(5)
    if change == 0:
        del inside[key]
    elif change == 1 and isinstance(inside, list):
        inside.append(inside[key])
    elif change == 1:
        inside[random.choice(("", "a\nb", "\ud800", "x" * 2000, "_target_"))] = inside[key]
    elif change == 2:  # the value of another place
        other, at = random.choice(places)
        inside[key] = json.loads(json.dumps(other[at]))
    else:
        inside[key] = random.choice(VALUES)
    text = json.dumps(whole)
    if random.random() < 0.1:  # a key that is there twice
        text = text.replace("{", '{"id": -5, ', 1)
    return text.encode()


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def _words(content: bytes, random: Random) -> bytes:
    """Another word in the place of one, or beside it."""
    text = content.decode("utf-8", "surrogateescape")
    found = list(re.finditer(r"[\w.+-]+|\S", text[:20_000]))
    start, end = random.choice(found).span() if found else (0, 0)
    word = random.choice(WORDS)
    spoilt = text[:start] + word + text[end if random.random() < 0.7 else start :]
    coding = "utf-16" if len(text) < 20_000 and random.random() < 0.1 else "utf-8"
    return spoilt.encode(coding, "surrogateescape" if coding == "utf-8" else "replace")


def _bytes(content: bytes, random: Random) -> bytes:
    start, end = sorted((random.randint(0, len(content)), random.randint(0, len(content))))
    change = random.randrange(6)
    if change == 0:
        return content[:start]
    if change == 1:
        return content[:start] + content[end:]
    if change == 2:
        return content[:end] + content[start : start + 2000] + content[end:]
    if change == 3:
        return content[:start] + random.randbytes(random.randint(1, 16)) + content[start:]
    if change == 4:
        new = random.choice(BYTES)
        return content[:start] + new + content[start + len(new) :]
    flipped = bytearray(content)
    for _ in range(random.randint(1, 4) if flipped else 0):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)
