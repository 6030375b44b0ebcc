"""A job that waits for a stage of another one lets go of its place, and takes it back before it goes on."""

import threading
import time
from contextlib import ExitStack

import pytest

from hydra_det.files.locks import try_lock
from hydra_det.pipeline.claiming import claim
from hydra_det.process import place
from hydra_det.store import store as store_module
from hydra_det.store.store import Store


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """Where the job speaks with a launcher that this test plays."""
    folder = tmp_path / "talk"
    folder.mkdir()
    monkeypatch.setenv(place.FOLDER, str(folder))
    monkeypatch.setattr(place, "POLL", 0.02)
    monkeypatch.setattr(store_module, "POLL", 0.02)
    return folder


def seen(path, seconds: float = 10.0) -> bool:
    """Whether a file is there before long."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


def test_a_stage_that_is_free_is_claimed_at_once(tmp_path, talk):
    with ExitStack() as claimed:
        assert claim(Store(tmp_path / "store"), "pretrain", "0" * 12, claimed)
    assert not list(talk.iterdir()), "its place was never let go of"


@pytest.mark.parametrize("finished", [True, False])
def test_whoever_waits_has_no_place_meanwhile(tmp_path, talk, finished):
    store, answers = Store(tmp_path / "store"), []
    other = ExitStack()
    assert store.claim_missing("pretrain", "0" * 12, other)

    def wait() -> None:
        with ExitStack() as claimed:
            answers.append(claim(store, "pretrain", "0" * 12, claimed))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert seen(talk / place.WAITING)
    assert not (talk / place.BACK).exists()
    if finished:
        store.publish("pretrain", "0" * 12, {"seconds": 1.0})
    other.close()
    assert seen(talk / place.BACK), "it asks for its place"
    assert not answers, "and does nothing before it has it"
    if finished:
        lock = try_lock(store.root / ".locks" / f"pretrain-{'0' * 12}", setting="store")
        assert lock, "nor does it keep others from what is there"
        lock.release()
    (talk / place.WAITING).unlink()
    (talk / place.BACK).unlink()
    waiting.join(timeout=10)
    assert answers == [not finished], "a stage that its owner left undone is to be run here"
