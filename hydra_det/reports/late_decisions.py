"""What was decided on after looking at results, as whoever made the runs says it in a file beside them.

`late_decisions.json` holds a list; an entry says why, and which findings rest on it:

    [{"why": "The runs at 90 % were decided on after those at 75 % had been seen.", "ratios": [0.9]}]
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra_det.records.schema import RecordError, check_plain
from hydra_det.reports.statistics.claims import CLAIMS

LATE_DECISIONS = "late_decisions.json"  # the name of the file
KEYS = ("why", "ratios", "claims")


class LateDecision(NamedTuple):
    """Something decided on after looking; what rests on it is a hint, however many seeds there are."""

    why: str  # a sentence or two
    ratios: tuple[float, ...] = ()  # findings that rest on one of them; empty: on any
    claims: tuple[str, ...] = ()  # only these, by their words; empty: all, and comparisons beside them


def rests_on_one(late: Iterable[LateDecision], ratios: Iterable[float], *, claim: str | None = None) -> bool:
    """Whether a finding does.

    Args:
        late: decisions.
        ratios: that the finding is about.
        claim: the words of the claim that it answers; None: it answers none.
    """
    about = set(ratios)
    return any(
        (not one.ratios or not about.isdisjoint(one.ratios)) and (not one.claims or claim in one.claims) for one in late
    )


def read_late_decisions(path: Path) -> list[LateDecision]:
    """Those of a file.

    Raises:
        RecordError: It is no such file; the message names the entry.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: expected a JSON list of late decisions ({error}); repair or delete it") from error
    if not isinstance(entries, list):
        raise RecordError(f"{path}: expected a list of late decisions, got {entries!r:.60}")
    check_plain(entries, str(path))
    return [_decision(entry, f"{path}: entry {place}") for place, entry in enumerate(entries, start=1)]


def _decision(entry: Any, where: str) -> LateDecision:
    if not isinstance(entry, dict) or not entry.get("why") or not isinstance(entry["why"], str):
        raise RecordError(f"{where}: expected an object whose `why` says what was decided on, got {entry!r:.60}")
    if unknown := [key for key in entry if key not in KEYS]:
        raise RecordError(f"{where}: expected the keys {', '.join(KEYS)}, got {unknown[0]:.60}")
    ratios, claims = (_list(entry, key, where) for key in KEYS[1:])
    if wrong := [ratio for ratio in ratios if type(ratio) not in (int, float) or not 0 <= ratio < 1]:
        raise RecordError(f"{where}: ratios: expected shares of the weights from 0 to 1, got {wrong[0]!r:.60}")
    known = {claim.words for claim in CLAIMS}
    if wrong := [claim for claim in claims if not isinstance(claim, str) or claim not in known]:
        raise RecordError(f"{where}: claims: expected a claim as tables of claims write it, got {wrong[0]!r:.60}")
    return LateDecision(entry["why"], tuple(map(float, ratios)), tuple(claims))


def _list(entry: dict[str, Any], key: str, where: str) -> Sequence[Any]:
    found = entry.get(key, [])
    if not isinstance(found, list) or (key in entry and not found):
        raise RecordError(f"{where}: {key}: expected a list with something in it, got {found!r:.60}; or leave it out")
    return found
