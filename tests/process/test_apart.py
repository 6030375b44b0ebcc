"""Work in a process of its own: answers, errors and log lines come back, and a crash stays there."""

import logging
import os
import signal
import time

import pytest

from hydra_det.process.apart import Apart, DiedError
from hydra_det.types import InputError

log = logging.getLogger(__name__)
kept: list[int] = []


def keep(number: int) -> tuple[int, list[int]]:
    kept.append(number)
    log.warning("%d kept", len(kept))
    return os.getpid(), kept


def refuse(*, name: str) -> None:
    raise InputError(f"{name}: expected something else")


def crash(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def test_what_is_called_there_is_answered_here(caplog: pytest.LogCaptureFixture) -> None:
    with Apart() as apart:
        first = apart.call(keep, 3)
        assert apart.call(keep, 4) == (first[0], [3, 4]), "one process, which keeps what it made"
        with pytest.raises(InputError, match="name: expected something else"):
            apart.call(refuse, name="name")
        assert apart.call(keep, 5)[1] == [3, 4, 5], "an error ends nothing"
    assert first[0] != os.getpid()
    assert kept == []
    assert [record.getMessage() for record in caplog.records] == ["1 kept", "2 kept", "3 kept"]
    with pytest.raises(ProcessLookupError):
        os.kill(first[0], 0)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=lambda number: number.name)
def test_a_crash_is_said_and_ends_nobody_else(number: signal.Signals) -> None:
    with Apart() as apart:
        with pytest.raises(DiedError, match=f"was ended by {number.name}"):
            apart.call(crash, number)
        with pytest.raises(DiedError, match=f"was ended by {number.name}"):
            apart.call(keep, 1)


def test_a_process_that_leaves_is_said() -> None:
    with Apart() as apart, pytest.raises(DiedError, match="ended with exit code 7"):
        apart.call(os._exit, 7)


def test_it_ends_at_once_where_something_else_went_wrong() -> None:
    pids: list[int] = []

    def work() -> None:
        with Apart() as apart:
            pids.append(apart.call(keep, 1)[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
