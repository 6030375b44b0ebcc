"""A process that loads images and is ended: the real loader's error is known, and nothing else is taken for it."""

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hydra_det.errors import chain
from hydra_det.process.failures.drives import refusal
from hydra_det.process.failures.lost_workers import lost_worker
from hydra_det.process.failures.memory_errors import explain


class Ended(Dataset[torch.Tensor]):
    """Whose sixth sample ends the process that loads it, when those before are read."""

    def __init__(self, how: int | None) -> None:
        self.how = how

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5:
            time.sleep(0.5)
            if self.how is None:
                os._exit(0)
            os.kill(os.getpid(), self.how)
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("how", "what"),
    [(signal.SIGTERM, "ended"), (None, "ended without a word")],
)
def test_the_error_of_a_lost_worker_is_one_line(how: int | None, what: str) -> None:
    with pytest.raises(RuntimeError) as found:
        list(DataLoader(Ended(how), batch_size=1, num_workers=1, timeout=20))
    line = lost_worker(found.value)
    assert line is not None
    assert what in line
    assert line.isprintable()


def test_what_is_cut_off_in_the_loader_is_one_too_and_elsewhere_is_not() -> None:
    code = compile("raise ConnectionResetError('by peer')", "/x/torch/utils/data/dataloader.py", "exec")
    with pytest.raises(ConnectionResetError) as found:
        exec(code)
    assert "ended while it sent an image" in (lost_worker(found.value) or "")
    with pytest.raises(ConnectionResetError) as found:
        raise ConnectionResetError("by peer")
    assert lost_worker(found.value) is None


def test_other_errors_are_not_taken_for_it() -> None:
    assert lost_worker(RuntimeError("DataLoader worker is out of luck")) is None
    assert lost_worker(ValueError("killed by signal: Terminated")) is None


def test_an_error_that_came_of_its_own_wrapper_is_walked_once() -> None:
    cause = ValueError("of the user")
    try:
        try:
            raise cause
        except ValueError as error:
            raise RuntimeError("of a library") from error
    except RuntimeError as wrapper:
        ring = wrapper.__cause__
        assert ring is cause
        cause.__cause__ = wrapper
    assert [str(part) for part in chain(cause)] == ["of the user", "of a library"]
    assert lost_worker(cause) is None
    assert explain(cause) is None
    assert refusal(cause, {}) is None
