"""The example's module, and a run of it, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.own_network import MODEL, SHORT, on_the_path
from tests.pipeline import tiny
from tests.pipeline.tiny import run


@pytest.fixture(scope="session")
def own_network() -> Iterator[Any]:
    """`examples/own_network.py`."""
    with on_the_path() as module:
        yield module


@pytest.fixture(scope="session")
def trained(own_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store and, as `run`, all five stages of the example, of two batches an epoch."""
    folder = tmp_path_factory.mktemp("own")
    words = ["prune=kernel", "prune.ratio=0.5", "init=deeplift", "init.target=loss", "init.images=4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "OVERRIDES", SHORT)
        run(folder, *MODEL, *words)
    return folder
