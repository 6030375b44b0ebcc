"""One finished run that several tests look at."""

from pathlib import Path

import pytest

from tests.pipeline.tiny import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store and, as `run`, the output of a run that removed 75 %."""
    folder = tmp_path_factory.mktemp("tiny")
    run(folder, "prune.ratio=0.75")
    return folder
