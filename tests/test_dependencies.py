"""Every dependency is listed with its licence, accepted, and not in a version that is known to be bad."""

import re
import sys
from collections.abc import Collection
from importlib import metadata

import pytest
from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from publish.licences import BUNDLED, EXCEPTIONS, NVIDIA, STATED
from publish.list_dependencies import (
    Locked,
    Row,
    accepted,
    direct_dependencies,
    filled,
    licence_of,
    not_permissive,
    parts_of,
    read_lock,
    read_rows,
    refused,
)
from tests.test_packaging import LOCK, PROJECT, REQUIREMENTS, ROOT, locked_versions

PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LISTED = re.compile(
    r"\| (?P<name>\S+) \| (?P<version>\d\S*)(?: where `[^`]+`)? \| (?P<licence>[^|]+) \| (?P<parts>[^|]+) \|.*"
)
LIBRARY = re.compile(r"lib(?P<stem>[A-Za-z0-9]+).*\.so(\.|$)")

SMALL_LOCK = """\
# via a comment
both==1 \\
    --hash=sha256:0
    # via
    #   needed
    #   tool
needed==2 ; python_full_version < '3.12' \\
    --hash=sha256:0 \\
    --hash=sha256:1
    # via hydra-det (pyproject.toml)
of-tools==3 \\
    --hash=sha256:0
    # via
    #   tool
    #   tool2
tool==4 \\
    --hash=sha256:0
    # via
    #   hydra-det (pyproject.toml)
    #   tool2
tool2==5 \\
    --hash=sha256:0
    # via hydra-det (pyproject.toml)
"""

# The last version with the fault, and what is wrong with it.
BAD = [
    ("torch", "2.9.1", "CVE-2026-24747: weights_only=True corrupts memory"),
    ("torchvision", "0.24.1", "built for torch 2.9"),
    ("pytorch-lightning", "2.6.2", "compromised"),
    ("pytorch-lightning", "2.6.3", "compromised"),
    ("pytorch-lightning", "2.6.5", "load_from_checkpoint runs code"),
    ("pillow", "12.2.0", "crafted images"),
    ("hydra-core", "1.3.5", "instantiates logging.os.system"),
    ("tensorboard", "2.20.0", "needs pkg_resources"),
    ("jinja2", "3.1.5", "CVE-2025-27516: templates reach str.format"),
    ("filelock", "3.29.0", "forked processes keep the locks of their parent"),
    ("onnx", "1.20.1", "CVE-2026-27489: external data outside the folder"),
    ("opencv-python-headless", "4.12.0.88", "holds numpy back"),
    ("opencv-python-headless", "4.13.0.90", "does not read Darknet's files"),
]


def listed() -> dict[tuple[str, str], tuple[str, str]]:
    """Licence and parts by name and version, as the page shows them."""
    rows = [match for line in PAGE.splitlines() if (match := LISTED.fullmatch(line))]
    return {(row["name"], row["version"]): (row["licence"], row["parts"]) for row in rows}


def test_every_locked_version_is_listed_and_no_other() -> None:
    locked = {(name, version) for name, versions in locked_versions(LOCK).items() for version in versions}
    assert listed().keys() == locked, "run `make licences`"


def test_the_page_is_what_the_command_writes() -> None:
    assert filled(PAGE, read_rows(LOCK, PROJECT)) == PAGE, "run `make licences`"


@pytest.mark.parametrize(
    ("name", "licence", "parts"),
    [
        ("torch", "Apache-2.0 AND", "runtime"),
        ("sympy", "BSD-3-Clause", "runtime"),  # of torch
        ("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", "runtime"),
        ("hypothesis", "MPL-2.0", "dev"),
        ("sortedcontainers", "Apache-2.0", "dev"),  # of hypothesis
        ("tqdm", "MPL-2.0 AND MIT", "runtime"),
        ("av", "BSD-3-Clause", "video"),
        ("flatbuffers", "Apache-2.0", "export"),  # of onnxruntime
        ("markupsafe", "BSD-3-Clause", "runtime"),  # of jinja2, which torch needs, and of mako, which an extra needs
        ("maite", "MIT", "maite"),
        ("mako", "MIT", "sweep"),  # of alembic of optuna
    ],
)
def test_known_packages_are_listed_rightly(name: str, licence: str, parts: str) -> None:
    found = [value for (package, _), value in listed().items() if package == name]
    assert found
    assert all(text.startswith(licence) and where == parts for text, where in found), found


def test_parts_follow_every_way_to_a_package() -> None:
    entries = read_lock(SMALL_LOCK)
    assert entries[1] == Locked("needed", "2", "python_full_version < '3.12'", ("hydra-det",))
    assert entries[2].needed_by == ("tool", "tool2")
    extras = {"dev": ["tool"], "export": ["Tool2>=5"]}
    assert parts_of(entries, direct_dependencies({"dependencies": ["needed>=1"], "optional-dependencies": extras})) == {
        "needed": ("runtime",),
        "both": ("runtime",),
        "tool": ("dev", "export"),
        "tool2": ("export",),
        "of-tools": ("dev", "export"),
    }


def test_runtime_holds_whatever_the_installed_packages_ask_for() -> None:
    """Against the requirements in the metadata, which the page does not use."""
    waiting = [Requirement(text) for text in PROJECT["dependencies"]]
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in found:
            continue
        found.add(key)
        for text in metadata.requires(requirement.name) or []:
            child = Requirement(text)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
            ):
                waiting.append(child)
    parts = {name: where for (name, _), (_, where) in listed().items()}
    assert len(found) > 40
    assert {name for name, _ in found if parts[name] != "runtime"} == set()


def test_every_licence_is_accepted() -> None:
    assert refused(read_rows(LOCK, PROJECT)) == []


def test_every_listed_licence_is_an_spdx_expression() -> None:
    for licence, _ in listed().values():
        assert canonicalize_license_expression(licence) == licence


@pytest.mark.parametrize(
    ("name", "licence", "expected"),
    [
        ("idna", "GPL-3.0-only", "GPL-3.0-only"),
        ("idna", "MIT AND AGPL-3.0-or-later", "AGPL-3.0-or-later"),
        ("idna", "MPL-2.0", "MPL-2.0"),  # accepted for others
        ("tqdm", "MPL-2.0 AND GPL-2.0-only", "GPL-2.0-only"),  # accepted with MPL-2.0 only
        ("idna", "GPL-2.0-only OR AGPL-3.0-only AND MIT", "GPL-2.0-only"),
        ("idna", "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("idna", "unknown: not installed here", "unknown: not installed here"),
        ("idna", "(GPL-2.0-only)", "(GPL-2.0-only)"),
    ],
)
def test_a_licence_that_is_not_accepted_is_refused(name: str, licence: str, expected: str) -> None:
    (complaint,) = refused([Row(Locked(name, "1.0", "", ("hydra-det",)), ("runtime",), licence)])
    assert complaint.startswith(f"{name} 1.0: {expected} is neither")


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT AND BSD-3-Clause", "GPL-2.0-only OR MIT", "Apache-2.0 WITH LLVM-exception"]
)
def test_a_permissive_licence_is_not_refused(licence: str) -> None:
    assert refused([Row(Locked("idna", "1.0", "", ("hydra-det",)), ("runtime",), licence)]) == []


def test_a_wheel_that_brings_copyleft_is_refused_unless_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(Locked("idna", "1.0", "", ("hydra-det",)), ("runtime",), "MIT")
    monkeypatch.setitem(BUNDLED, "idna", {"MIT": "a", "GPL-2.0-or-later": "b"})
    assert [text.partition(" is ")[0] for text in refused([row])] == ["idna 1.0: GPL-2.0-or-later"]


def test_nothing_of_the_runtime_is_under_the_gpl_but_the_runtime_of_gcc() -> None:
    names = {name for (name, _), (_, parts) in listed().items() if parts == "runtime"}
    copyleft = {licence for name in names for licence in accepted(name) if "GPL" in licence}
    assert copyleft == {"GPL-3.0-or-later WITH GCC-exception-3.1", "LGPL-2.1-or-later"}


def test_no_fact_is_left_of_a_package_that_is_gone() -> None:
    names = locked_versions(LOCK).keys()
    for pattern in {*STATED, *(pattern for pattern, _, _ in EXCEPTIONS), *BUNDLED}:
        found = [
            name for name in names if name == pattern or (name.startswith(pattern.removesuffix("*")) and "*" in pattern)
        ]
        assert found, f"publish/licences.py: {pattern} is not in the lock"


def test_stated_bsd_licences_are_those_of_the_texts_in_the_wheels() -> None:
    """The third clause of BSD-3-Clause is the one about endorsing."""
    seen = 0
    for name, (licence, where) in STATED.items():
        if not licence.startswith("BSD") or "in the wheel" not in where or not installed(name):
            continue
        files = [file for file in metadata.files(name) or [] if re.fullmatch(r"LICEN[CS]E(\.\w+)?", file.name)]
        texts = [" ".join(file.read_text(encoding="utf-8").split()) for file in files if ".dist-info" in str(file)]
        assert texts, f"{name}: no licence file in the wheel"
        assert all("Redistribution and use in source and binary forms" in text for text in texts), name
        assert all(("endorse or promote" in text) == (licence == "BSD-3-Clause") for text in texts), name
        seen += 1
    assert seen > 8


@pytest.mark.skipif(sys.platform != "linux", reason="the libraries inside the wheels are listed for Linux")
def test_every_native_library_inside_a_wheel_is_listed() -> None:
    known = {(name, stem) for name, by in BUNDLED.items() for stems in by.values() for stem in stems.split()}
    found = set()
    for name in filter(installed, locked_versions(LOCK)):
        if NVIDIA not in not_permissive(licence_of(name)):  # else all of it is NVIDIA's
            stems = (LIBRARY.match(file.name) for file in metadata.files(name) or [] if ".cpython-" not in file.name)
            found |= {(name, match["stem"].lower()) for match in stems if match}
    assert found - known == set(), "say in publish/licences.py under which licence they are"
    if installed("av"):
        assert {("av", "x264"), ("av", "x265")} <= found, "the wheel of av may be permissive now: correct the page"


def installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.parametrize(("name", "version", "why"), BAD)
def test_a_bad_version_is_excluded(name: str, version: str, why: str) -> None:
    (requirement,) = (found for found in map(Requirement, REQUIREMENTS) if found.name == name)
    assert not requirement.specifier.contains(version), why
    assert requirement.specifier.contains(locked_versions(LOCK)[name][0])


REQUIREMENT = re.compile(r'"([A-Za-z0-9_.-]+(?:[><=!~][^"]*)?)"')
LIMITS = re.compile(r"!=|<|==|~=")
BOUNDED = {name for name, _, _ in BAD}  # whose bound is a reasoned one, also where it is only a lower one


def without_a_reason(pyproject: str, bounded: Collection[str] = BOUNDED) -> list[str]:
    """The requirements that need a reason and have none: they exclude versions, have an upper bound or are bounded.

    The reason of a requirement is a comment directly above its line, which it shares with no other one.
    """
    found, above = [], ""
    for line in map(str.strip, pyproject.splitlines()):
        if line.startswith("#"):
            above = line
            continue
        for number, text in enumerate(REQUIREMENT.findall(line)):
            needs_one = LIMITS.search(text) or canonicalize_name(re.split("[><=!~]", text)[0]) in bounded
            if needs_one and (number or not above):
                found.append(text)
        above = ""
    return found


def test_every_exclusion_and_every_bound_against_a_bad_version_says_why() -> None:
    assert without_a_reason(PYPROJECT) == []


@pytest.mark.parametrize("text", ["idna>=3,!=3.1", "idna<4", "idna==3", "idna~=3.1"])
def test_an_exclusion_without_a_reason_is_found(text: str) -> None:
    assert without_a_reason(f'dependencies = [\n  "{text}",\n]') == [text]
    assert without_a_reason(f'dependencies = [\n  # Why.\n  "{text}",\n]') == []
    assert without_a_reason('dependencies = [\n  "idna>=3",\n]') == []


def test_the_reason_of_another_requirement_is_none() -> None:
    assert without_a_reason('dependencies = [\n  # Why.\n  "first>=1",\n  "idna<4",\n]') == ["idna<4"]
    assert without_a_reason('dev = [\n  # Why.\n  "first>=1", "idna<4"]') == ["idna<4"]


def test_a_lower_bound_against_a_bad_version_needs_a_reason() -> None:
    assert without_a_reason('dependencies = [\n  "Idna>=3",\n]', ["idna"]) == ["Idna>=3"]
    assert without_a_reason('dependencies = [\n  # Why.\n  "idna>=3",\n]', ["idna"]) == []
