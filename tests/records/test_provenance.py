"""Versions and commits, asked of small repositories made for it."""

import subprocess
import sys

import pytest

from hydra_det.records import provenance
from hydra_det.records.provenance import collect_versions, current_commit


def test_versions():
    versions = collect_versions()
    assert versions["python"] == sys.version.split()[0].rstrip("+")
    assert versions["torch"]
    assert "hydra-det" in versions


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The package file in a small repository of its own, committed."""
    package = tmp_path / "package" / "record.py"
    package.parent.mkdir()
    package.write_text("# tracked\n")
    monkeypatch.setattr(provenance, "__file__", str(package))
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message=first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return package


def test_commit_says_whether_the_checkout_is_dirty(checkout):
    commit = current_commit()
    assert commit is not None
    assert len(commit) == 40
    checkout.write_text("# changed\n")
    assert current_commit() == f"{commit}-dirty"


def test_no_commit_from_a_repository_that_does_not_hold_the_package(checkout, monkeypatch):
    installed = checkout.parent / "site-packages" / "record.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert current_commit() is None


def test_no_commit_outside_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "record.py"))
    assert current_commit() is None
