"""What the tests with faults share: a process that makes others, and what comes out when nothing disturbs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scenes import ONE, run_all
from tests.faults.warm import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts processes that have torch loaded."""
    with Nursery() as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which a run has come to its end, and its outcome."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return folder, run_all(nursery, folder, [("train", ONE)])
