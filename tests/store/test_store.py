"""Who may run a stage: one at a time, and nobody once it is there."""

import errno
import fcntl
import hashlib
import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from hydra_det.errors import InputError
from hydra_det.store import store as module
from hydra_det.store.store import Store, read_about


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

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InputError, match="store: expected a drive that locks files, got Function not implemented"):
        store.claim("prune", "k").__enter__()


@pytest.fixture
def published(store):
    """The folder of a finished stage with two results and something to look at."""
    partial = store.partial("prune", "k")
    (partial / "weights.safetensors").write_bytes(bytes(1000))
    (partial / "scores.json").write_text("{}")
    (partial / "tensorboard").mkdir()
    (partial / "tensorboard" / "events").write_text("look")
    store.publish("prune", "k", {"name": "prune", "seconds": 1.5})
    return store.folder("prune", "k")


def is_missing(store):
    with ExitStack() as claimed:
        return store.claim_missing("prune", "k", claimed)


def test_a_published_stage_names_its_results_with_their_checksums(store, published):
    about = store.find("prune", "k")
    assert about == read_about(published)
    assert about["seconds"] == 1.5
    assert about["files"]["weights.safetensors"] == {"bytes": 1000, "sha256": hashlib.sha256(bytes(1000)).hexdigest()}
    assert set(about["files"]) == {"weights.safetensors", "scores.json"}
    assert not is_missing(store)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", None),
        ("weights.safetensors", b""),
        ("weights.safetensors", bytes(999)),
        ("weights.safetensors", bytes(999) + b"\1"),
        ("stage.json", None),
        ("stage.json", b""),
        ("stage.json", b"{}"),
        ("stage.json", b'{"name": "prune"'),
        ("stage.json", b"[1]"),
        ("stage.json", b'{"files": {"scores.json": 3}}'),
        ("stage.json", b"\xff\xfe"),
        ("stage.json", b"[" * 100_000),
        ("stage.json", b'{"files": {"../prune-k/scores.json": {"bytes": 2, "sha256": ""}}}'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_damaged_stage_is_set_aside_and_to_be_run_again(store, published, caplog, name, content):
    (published / name).unlink()
    if content is not None:
        (published / name).write_bytes(content)
    with pytest.raises(InputError, match="expected a finished stage with all of its files as they were written"):
        read_about(published)
    with ExitStack() as claimed:
        assert store.claim_missing("prune", "k", claimed)
        assert not published.exists()
        aside = published.with_name("prune-k.damaged")
        assert (aside / "tensorboard" / "events").read_text() == "look"
        assert f"{published}: expected a finished stage, found a damaged one; it is now {aside}" in caplog.text
        store.partial("prune", "k")
        store.publish("prune", "k", {"name": "prune"})
    assert not is_missing(store)
    assert list(store.finished("prune")) == [store.find("prune", "k")]


def test_every_digit_of_what_is_said_of_a_stage_counts(store, published):
    text = (published / "stage.json").read_text()
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    assert len(places) > 100
    for place in places:
        other = str(9 - int(text[place]))
        (published / "stage.json").write_text(text[:place] + other + text[place + 1 :])
        assert store.find("prune", "k") is None
    (published / "stage.json").write_text(text)
    assert store.find("prune", "k")


@pytest.mark.parametrize(("number", "missing"), [(errno.EIO, True), (errno.EMFILE, None)])
def test_a_stage_on_a_bad_sector_is_a_damaged_one_and_want_of_handles_is_not(
    store, published, monkeypatch, number, missing
):
    original = module._content

    def read(path):
        if path.name == "weights.safetensors":
            raise OSError(number, os.strerror(number))
        return original(path)

    monkeypatch.setattr(module, "_content", read)
    if missing is None:
        with pytest.raises(OSError, match=os.strerror(number)):
            is_missing(store)
        assert published.exists()
    else:
        assert is_missing(store)
        assert not published.exists()


def test_a_stage_is_on_the_disk_before_it_has_its_name(store, monkeypatch):
    seen = []
    original = Path.rename
    monkeypatch.setattr(module, "sync", lambda path: seen.append(path.name))

    def rename(path, to):
        seen.append(f"{path.name} > {to.name}")
        return original(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    partial = store.partial("prune", "k")
    (partial / "a.json").write_text("{}")
    (partial / "b.json").write_text("{}")
    store.publish("prune", "k", {})
    assert seen == ["a.json", "b.json", "prune-k.partial", "prune-k.partial > prune-k", "store"]


def test_a_whole_stage_that_cannot_be_opened_now_stays_where_it_is(store, published, monkeypatch):
    def read(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    with monkeypatch.context() as full:
        full.setattr(Path, "read_bytes", read)
        with pytest.raises(OSError, match="Too many open files"):
            is_missing(store)
    assert not is_missing(store)


def test_a_stage_that_only_lacks_its_rename_is_finished_and_not_run_again(store, published):
    partial = published.rename(published.with_name("prune-k.partial"))
    (partial / "last.ckpt").write_text("a checkpoint")
    (partial / ".last.ckpt.abc.tmp").write_text("half of one")
    assert store.find("prune", "k") is None
    assert not is_missing(store)
    assert {path.name for path in published.iterdir()} == {
        "stage.json", "weights.safetensors", "scores.json", "tensorboard",
    }  # fmt: skip
    assert not partial.exists()


def test_a_stage_under_way_that_was_written_half_is_run_on(store, published):
    partial = published.rename(published.with_name("prune-k.partial"))
    (partial / "weights.safetensors").write_bytes(bytes(10))
    (partial / "last.ckpt").write_text("a checkpoint")
    (partial / ".last.ckpt.abc.tmp").write_text("half of one")
    assert is_missing(store)
    assert store.partial("prune", "k") == partial
    assert (partial / "last.ckpt").exists()
    assert not (partial / ".last.ckpt.abc.tmp").exists()


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(store):
    begun, begins = os.pipe()
    ended, ends = os.pipe()
    with store.claim("prune", "k"):
        child = os.fork()
        if child == 0:  # lives on behind the claim, as the worker of a data loader behind a process that was killed
            os.close(ends)
            os.write(begins, b"1")
            os.read(ended, 1)
            os._exit(0)
        os.read(begun, 1)
    try:
        with store.claim("prune", "k", meanwhile=lambda: pytest.fail("the lock is still held")):
            pass
    finally:
        for handle in (begun, begins, ended, ends):
            os.close(handle)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_free_the_lock_of_its_parent(store):
    with store.claim("prune", "k"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        handle = os.open(store.root / ".locks" / "prune-k", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
