"""Who may run a stage: one at a time, and nobody once it is there."""

import errno
import logging
import os
import threading
from contextlib import ExitStack

import pytest

from hydra_det.errors import InputError
from hydra_det.pipeline import store as module
from hydra_det.pipeline.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.01)
    return Store(tmp_path / "store")


def test_a_stage_is_claimed_once_and_not_at_all_when_it_is_there(store, caplog):
    said, waited, answers = threading.Event(), [], []

    def meanwhile():
        waited.append(True)
        said.set()

    def other():
        with ExitStack() as claimed:
            answers.append(store.claim_missing("prune", "k", claimed, meanwhile=meanwhile))

    with caplog.at_level(logging.INFO), ExitStack() as claimed:
        assert store.claim_missing("prune", "k", claimed)
        thread = threading.Thread(target=other)
        thread.start()
        assert said.wait(30)
        assert not answers
        store.publish("prune", "k", {"name": "prune"})
    thread.join(30)
    assert answers == [False]
    assert waited
    assert caplog.text.count("prune is being run by another process; waiting for its result") == 1
    with ExitStack() as claimed:
        assert not store.claim_missing("prune", "k", claimed)
        assert store.claim_missing("prune", "another", claimed)


def test_a_claim_ends_with_its_block_and_the_folder_is_looked_at_anew(store):
    for _ in range(2):
        with ExitStack() as claimed:
            assert store.claim_missing("prune", "k", claimed)
    os.utime(store.root, (0, 0))  # a network drive shows a folder as it was until it is seen to have changed
    with store.claim("prune", "k"):
        assert store.root.stat().st_mtime > 0


def test_a_drive_that_does_not_lock_is_refused(store, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(module.fcntl, "flock", unsupported)
    with pytest.raises(InputError, match="store: expected a drive that locks files, got Function not implemented"):
        store.claim("prune", "k").__enter__()
