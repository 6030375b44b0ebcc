"""A checkpoint is what was written, or it is not read; nothing in it is ever run."""

import errno
import os
from pathlib import Path

import pytest
import torch

from hydra_det.errors import InputError
from hydra_det.store.checkpoints import EARLIER, LAST, CheckpointFiles, resumable


class Payload:
    """What an attacker puts into a file that somebody unpickles."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def files():
    return CheckpointFiles()


def test_what_is_saved_is_read_and_the_one_before_it_is_kept(tmp_path, files):
    for value in (1.0, 2.0):
        files.save_checkpoint({"weight": torch.tensor([value])}, tmp_path / LAST)
    assert resumable(tmp_path) == tmp_path / LAST
    assert files.load_checkpoint(tmp_path / LAST)["weight"] == 2
    assert files.load_checkpoint(tmp_path / EARLIER)["weight"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {LAST, EARLIER}


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_good_one_before_it(tmp_path, files, monkeypatch):
    for epoch in (3, 4):
        files.save_checkpoint({"epoch": epoch}, tmp_path / LAST)
    (tmp_path / LAST).write_bytes(b"damaged")
    assert resumable(tmp_path) == tmp_path / EARLIER

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hydra_det.store.checkpoints.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint({"epoch": 5}, tmp_path / LAST)
    assert resumable(tmp_path) == tmp_path / EARLIER
    assert files.load_checkpoint(tmp_path / EARLIER) == {"epoch": 3}


@pytest.mark.parametrize(("number", "found"), [(errno.EIO, EARLIER), (errno.ENOENT, EARLIER), (errno.EMFILE, None)])
def test_a_checkpoint_that_cannot_be_read_any_more_is_none_and_want_of_handles_says_nothing_of_it(
    tmp_path, files, monkeypatch, number, found
):
    for epoch in (3, 4):
        files.save_checkpoint({"epoch": epoch}, tmp_path / LAST)
    original = Path.read_bytes

    def read(path):
        if path.name == LAST:
            raise OSError(number, os.strerror(number))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    if found is None:
        with pytest.raises(OSError, match=os.strerror(number)):
            resumable(tmp_path)
        assert (tmp_path / LAST).exists()
    else:
        assert resumable(tmp_path) == tmp_path / found


def test_every_single_changed_byte_is_noticed(tmp_path, files):
    files.save_checkpoint({"epoch": 3}, tmp_path / LAST)
    content = (tmp_path / LAST).read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (tmp_path / LAST).write_bytes(changed)
        assert resumable(tmp_path) is None
    (tmp_path / LAST).write_bytes(changed)
    with pytest.raises(InputError, match=r"last\.ckpt: expected a checkpoint as it was written, found a damaged one"):
        files.load_checkpoint(tmp_path / LAST)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 500])
def test_a_checkpoint_that_was_cut_off_is_noticed(tmp_path, files, length):
    files.save_checkpoint({"epoch": 3}, tmp_path / LAST)
    files.save_checkpoint({"epoch": 4}, tmp_path / LAST)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:length])
    assert resumable(tmp_path) == tmp_path / EARLIER


def test_a_checkpoint_whose_writer_died_between_two_renames_leaves_the_one_before(tmp_path, files):
    files.save_checkpoint({"epoch": 3}, tmp_path / LAST)
    (tmp_path / LAST).rename(tmp_path / EARLIER)
    assert resumable(tmp_path) == tmp_path / EARLIER


@pytest.mark.parametrize("weights_only", [True, False, None])
def test_a_payload_with_a_right_checksum_is_refused_and_not_run(tmp_path, files, weights_only):
    torch.save({"weight": Payload(tmp_path / "run")}, tmp_path / "plain.pt")
    torch.load(tmp_path / "plain.pt", weights_only=False)  # it would work
    (tmp_path / "run").rmdir()
    files.save_checkpoint({"weight": Payload(tmp_path / "run")}, tmp_path / LAST)
    with pytest.raises(InputError, match="found something else, which was not run") as caught:
        files.load_checkpoint(tmp_path / LAST, weights_only=weights_only)
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(caught.value)
