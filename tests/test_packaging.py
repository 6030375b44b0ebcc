"""The lock covers what pyproject.toml asks for, and the wheel brings the scripts with their configs."""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hydra_det.records.record import write_record
from tests.reports.example import grid

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
]
COMPROMISED_LIGHTNING = ("2.6.2", "2.6.3")

PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
COMMENT = re.compile(r" *#.*")


def locked_versions(lock: str) -> dict[str, list[str]]:
    """Every version of each package in a lock; two where they depend on the Python version.

    A line that is not `name==version`, a hash or a comment, and a package without a hash, are refused: an address, an
    index or an unhashed file would otherwise slip in.
    """
    versions = defaultdict(list)
    unhashed = None
    for line in lock.splitlines():
        if pinned := PINNED.fullmatch(line):
            if unhashed is not None:
                raise ValueError(f"requirements.lock: {unhashed} has no hash")
            unhashed = pinned["name"]
            versions[pinned["name"]].append(pinned["version"])
        elif HASH.fullmatch(line):
            unhashed = None
        elif not COMMENT.fullmatch(line):
            raise ValueError(f"requirements.lock: expected name==version, a hash or a comment, got {line!r}")
    if unhashed is not None:
        raise ValueError(f"requirements.lock: {unhashed} has no hash")
    return dict(versions)


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_requirement_is_in_the_lock(text: str) -> None:
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    versions = locked_versions(LOCK)
    assert name in versions, f"{name} is not in requirements.lock: run `make lock`"
    for version in versions[name]:
        assert requirement.specifier.contains(version), f"{name}: run `make lock UPDATE={name}`"


@pytest.mark.parametrize(
    "lock",
    [
        "idna==3.20 \\\n    # via yarl",
        "idna==3.20",
        "idna @ https://example.org/idna.whl",
        "--extra-index-url https://example.org",
        "-e .",
        "idna==3.20 \\\n    --hash=md5:0123",
    ],
)
def test_a_lock_that_is_not_pinned_and_hashed_is_refused(lock: str) -> None:
    with pytest.raises(ValueError, match=r"requirements\.lock: "):
        locked_versions(lock)


def test_no_package_host_is_named() -> None:
    assert "://" not in LOCK
    assert not [text for text in REQUIREMENTS if "://" in text]
    assert not PYPROJECT["tool"].get("uv", {}).keys() & {
        "index",
        "index-url",
        "extra-index-url",
        "find-links",
        "sources",
    }


def test_compromised_lightning_is_excluded() -> None:
    (lightning,) = (r for r in map(Requirement, REQUIREMENTS) if r.name == "pytorch-lightning")
    versions = locked_versions(LOCK)
    for version in COMPROMISED_LIGHTNING:
        assert not lightning.specifier.contains(version)
        assert version not in versions["pytorch-lightning"]
    assert "lightning" not in versions


def test_lock_holds_one_torch_and_one_torchvision() -> None:
    versions = locked_versions(LOCK)
    assert len(versions["torch"]) == len(versions["torchvision"]) == 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without the build backend in this environment, `build` fetches it into one of its own.
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, *isolation, ROOT], cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment that holds the wheel, and finds everything else in this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    # pip runs before the other packages come into view: it would take an installed checkout for the wheel.
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], cwd=folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = run([python, "-c", "import hydra_det; print(hydra_det.__file__)"], cwd=folder)
    assert Path(where.strip()).is_relative_to(folder)
    return folder / "bin"


@pytest.mark.slow
def test_wheel_holds_every_config_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    configs = [path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")]
    assert configs
    assert [config for config in configs if not any(name.endswith(f"/{config}") for name in names)] == []
    assert [name for name in names if "test" in Path(name).parts[0]] == []
    templates = [path.relative_to(ROOT).as_posix() for path in (ROOT / "hydra_det").rglob("templates/*")]
    assert len(templates) > 10
    assert set(templates) <= set(names)


@pytest.mark.slow
def test_an_installed_report_brings_its_templates(installed: Path, tmp_path: Path) -> None:
    for folder, record in grid(["deeplift_paper, weight"], ratios=[0.5, 0.9], seeds=[0]).items():
        write_record(tmp_path / "runs" / folder / "record.json", record)
    run([installed / "hydra-det-report", "runs=runs", "hydra.run.dir=out"], cwd=tmp_path)
    source = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "What is left." in source
    assert "prefers-color-scheme: dark" in source, "the style sheet is there, too"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROJECT["scripts"])
def test_installed_program_composes_the_configs_of_the_repository(
    installed: Path, program: str, tmp_path: Path
) -> None:
    script = ROOT / f"{program.removeprefix('hydra-det-')}.py"
    composed = run([installed / program, "--cfg", "job"], cwd=tmp_path)
    assert composed.strip()
    assert composed == run([sys.executable, script, "--cfg", "job"], cwd=ROOT)
    assert run([installed / program, "--help"], cwd=tmp_path).strip()


def run(command: list[str | Path], *, cwd: Path) -> str:
    """The standard output of `command`, run where only installed packages are found."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
