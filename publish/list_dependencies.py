"""The dependencies and their licences, as the tables of dependencies.md; the text around them stays.

python -m publish.list_dependencies

Names and versions come from `requirements.lock`, licences from the metadata of what is installed, and from
`licences.py` where these are vague or a package belongs to another platform.
"""

import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from publish.licences import BUNDLED, EXCEPTIONS, NVIDIA, PERMISSIVE, STATED

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- written by: python -m publish.list_dependencies -->\n", "<!-- end -->\n"
US = "hydra-det"
GROUPS = ("Proprietary", "Weak copyleft", "Permissive, with other licences inside the wheel", "Permissive")

PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+))? \\")

# Free text and classifiers that leave no doubt.
WORDINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
}


class Locked(NamedTuple):
    """An entry of the lock; `needed_by` names packages of the lock, or `hydra-det`."""

    name: str
    version: str
    marker: str
    needed_by: tuple[str, ...]


class Row(NamedTuple):
    """A line of the table: an entry of the lock, the parts of hydra_det that bring it in, and its licence."""

    locked: Locked
    parts: tuple[str, ...]
    licence: str


def main() -> None:
    """Write the tables into the page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = read_rows((ROOT / "requirements.lock").read_text(encoding="utf-8"), project)
    if problems := refused(rows):
        sys.exit("\n".join(problems))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


def read_rows(lock: str, project: Mapping[str, Any]) -> list[Row]:
    """Every entry of a lock with its licence; `project` is that table of pyproject.toml."""
    entries = read_lock(lock)
    parts = parts_of(entries, direct_dependencies(project))
    return [Row(entry, parts[entry.name], licence_of(entry.name)) for entry in entries]


def read_lock(text: str) -> list[Locked]:
    """The entries of a lock that uv wrote, in its order."""
    lines = text.splitlines()
    starts = [(index, match) for index, line in enumerate(lines) if (match := PINNED.fullmatch(line))]
    entries = []
    for index, match in starts:
        below = takewhile(lambda line: line.startswith(" "), lines[index + 1 :])
        comments = " ".join(line.strip(" #") for line in below if line.lstrip().startswith("#"))
        needed_by = comments.replace("(pyproject.toml)", "").removeprefix("via").split()
        entries.append(Locked(match["name"], match["version"], match["marker"] or "", tuple(needed_by)))
    return entries


def direct_dependencies(project: Mapping[str, Any]) -> dict[str, set[str]]:
    """The packages that pyproject.toml names itself: under `runtime`, and under every extra."""
    texts = {"runtime": project["dependencies"], **project["optional-dependencies"]}
    return {part: {canonicalize_name(Requirement(text).name) for text in found} for part, found in texts.items()}


def parts_of(entries: Sequence[Locked], direct: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    """For each package `("runtime",)`, or the extras without which it is not installed."""
    needs = defaultdict(set)
    for entry in entries:
        for parent in entry.needed_by:
            needs[parent].add(entry.name)
    parts: dict[str, list[str]] = defaultdict(list)
    for part, names in direct.items():
        reached: set[str] = set()
        waiting = set(names)
        while waiting:
            reached |= waiting
            waiting = {child for name in waiting for child in needs[name]} - reached
        for name in reached:
            if "runtime" not in parts[name]:
                parts[name].append(part)
    return {name: tuple(found) for name, found in parts.items()}


def licence_of(name: str) -> str:
    """The licence of a package as an SPDX expression, or what its metadata say where that is none.

    In this order: the field for SPDX expressions, the older field where it is one, `STATED`, the classifiers.
    """
    try:
        fields = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return _stated(name) or "unknown: not installed here"
    if expression := fields.get("license_expression"):
        return str(expression)
    wording = str(fields.get("license", ""))
    if spdx := _as_spdx(WORDINGS.get(wording, wording)) or _stated(name):
        return spdx
    for text in fields.get("classifier", []):
        if "License ::" in text and (spdx := _as_spdx(WORDINGS.get(text.rpartition(" :: ")[2], ""))):
            return spdx
    return "unknown: neither metadata nor publish/licences.py tell"


def not_permissive(licence: str) -> frozenset[str]:
    """The parts of an SPDX expression that are not permissive, where it offers a choice of the better alternative.

    Parentheses are not understood: what stands in them counts as not permissive.
    """
    alternatives = [frozenset(text.split(" AND ")) - PERMISSIVE for text in licence.split(" OR ")]
    return min(alternatives, key=len)


def accepted(name: str) -> frozenset[str]:
    """The licences that are accepted for a package beside the permissive ones."""
    return frozenset().union(*(licences for pattern, licences, _ in EXCEPTIONS if fnmatchcase(name, pattern)))


def refused(rows: Sequence[Row]) -> list[str]:
    """One line for every licence, of a package or of what its wheel brings, that is not accepted."""
    return [
        f"{row.locked.name} {row.locked.version}: {licence} is neither permissive nor excepted in publish/licences.py"
        for row in rows
        for licence in sorted((not_permissive(row.licence) | _brought(row.locked.name)) - accepted(row.locked.name))
    ]


def filled(page: str, rows: Sequence[Row]) -> str:
    """The page with its tables anew."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name}: expected the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return before + BEGIN + "\n" + "\n".join(_tables(rows)) + "\n" + END + after


def _tables(rows: Sequence[Row]) -> list[str]:
    groups = defaultdict(list)
    for row in rows:
        groups[_group(row)].append(row)
    counts = ", ".join(f"{title.lower()} {len(groups[title])}" for title in GROUPS)
    runtime = sum(row.parts == ("runtime",) for row in rows)
    packages = len({row.locked.name for row in rows})
    lines = [
        f"{len(rows)} entries of {packages} packages; {runtime} come with every installation that their markers fit.",
        f"By licence: {counts}.",
    ]
    for title in GROUPS:
        lines += ["", f"### {title}", ""]
        lines += _table(("package", "version", "licence", "part", "needed by"), map(_cells, groups[title]))
    accepted_ones = [(pattern, ", ".join(sorted(licences)), why) for pattern, licences, why in EXCEPTIONS]
    libraries = [(name, licence, found) for name, by in BUNDLED.items() for licence, found in by.items()]
    lines += ["", "### Accepted although not permissive", ""]
    lines += _table(("package", "licence of it or of what it brings", "why"), accepted_ones)
    lines += ["", "### Native libraries inside the wheels", ""]
    lines += ["As found on Linux; what `nvidia-*` hold is NVIDIA's.", ""]
    lines += _table(("wheel", "licence", "libraries"), libraries)
    lines += ["", "### Where the metadata do not tell", ""]
    lines += _table(("package", "licence", "where it stands"), [(name, *stated) for name, stated in STATED.items()])
    return lines


def _group(row: Row) -> str:
    if NVIDIA in not_permissive(row.licence):
        return "Proprietary"
    if not_permissive(row.licence):
        return "Weak copyleft"
    return "Permissive, with other licences inside the wheel" if _brought(row.locked.name) else "Permissive"


def _brought(name: str) -> frozenset[str]:
    """The licences inside a wheel that are not permissive."""
    return frozenset().union(*map(not_permissive, BUNDLED.get(name, {})))


def _cells(row: Row) -> tuple[str, ...]:
    entry = row.locked
    marker = f" where `{entry.marker}`" if entry.marker else ""
    needed_by = ("hydra_det" if name == US else name for name in entry.needed_by)
    return entry.name, entry.version + marker, row.licence, ", ".join(row.parts), ", ".join(needed_by)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]


def _stated(name: str) -> str | None:
    return next((licence for pattern, (licence, _) in STATED.items() if fnmatchcase(name, pattern)), None)


def _as_spdx(text: str) -> str | None:
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None


if __name__ == "__main__":
    main()
