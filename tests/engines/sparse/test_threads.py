"""Steps of torch are shared out to threads with one torch thread each, and nobody else's number of threads changes."""

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn

pytest.importorskip("numba")

from hydra_det.compaction.compact import as_graph
from hydra_det.engines.sparse import dense, tuning
from hydra_det.engines.sparse.engine import Sparse
from hydra_det.engines.sparse.planning import BY_TORCH
from hydra_det.engines.sparse.threads import side_by_side, torch_helpers
from tests.engines.sparse.example import equal, images
from tests.init.example import answering

OTHERS = 5  # threads of torch, in the tests, where the engine does not compute


@pytest.fixture(autouse=True)
def five_threads():
    """Torch's number of threads, and helpers that are made anew."""
    before = torch.get_num_threads()
    torch.set_num_threads(OTHERS)
    torch_helpers.cache_clear()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def net(monkeypatch):
    """A network all of whose convolutions are torch's."""
    monkeypatch.setattr(tuning, "_best", lambda *_: BY_TORCH)
    return as_graph(answering("yolov3_tiny"))


def in_a_new_thread():
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    return found[0]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_every_step_is_shared_out_in_blocks(net, monkeypatch, threads):
    made, seen, conv2d = Sparse(net, threads=threads), [], dense.F.conv2d

    def counted(maps, weights, *further):
        seen.append((threading.current_thread().name, torch.get_num_threads(), len(weights)))
        return conv2d(maps, weights, *further)

    made(images(1))  # which tunes it
    monkeypatch.setattr(dense.F, "conv2d", counted)
    made(images(1))
    monkeypatch.undo()
    assert {number for _, number, _ in seen} == {1}
    assert all(name.startswith("sparse-torch") for name, _, _ in seen)
    outputs = [len(module.weight) for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert sum(count for *_, count in seen) == sum(outputs)
    assert len(seen) == sum(min(threads, -(-count // dense.BLOCK)) for count in outputs)
    assert equal(net, made, images())


def test_torch_has_as_many_threads_as_before(net):
    made = Sparse(net, threads=2)
    made(images(1))
    assert (torch.get_num_threads(), in_a_new_thread()) == (OTHERS, OTHERS)


def test_several_callers_leave_the_number_alone(net):
    """Also one that meets torch for the first time, in an engine, while another one computes."""
    engines = [Sparse(net, threads=2) for _ in range(2)]
    wanted = [made(images(1)) for made in engines]
    wrong: list[int] = []
    seen: list[int] = []

    def ask(number):
        for _ in range(20):
            found = engines[number](images(1))
            wrong.extend(number for a, b in zip(wanted[number], found, strict=True) if not torch.equal(a, b))
        seen.append(torch.get_num_threads())

    callers = [threading.Thread(target=ask, args=(number % 2,)) for number in range(4)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        seen.append(in_a_new_thread())
    assert wrong == []
    assert set(seen) == {OTHERS}
    assert in_a_new_thread() == OTHERS


def test_an_interrupt_while_parts_are_given_away_leaves_nothing_behind(net, monkeypatch):
    made = Sparse(net, threads=3)
    wanted = made(images(1))
    pool = torch_helpers(os.getpid(), 3)
    submit = pool.submit
    asked: list[Future[None]] = []

    def late(work):
        time.sleep(0.1)
        work()

    def interrupted(work):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(submit(partial(late, work)))
        return asked[-1]

    monkeypatch.setattr(pool, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(images(1))
    assert all(future.done() for future in asked)
    assert made._programs == {}
    monkeypatch.setattr(pool, "submit", submit)
    assert (torch.get_num_threads(), in_a_new_thread()) == (OTHERS, OTHERS)
    assert all(torch.equal(a, b) for a, b in zip(wanted, made(images(1)), strict=True))


def test_an_error_waits_for_what_has_begun_and_is_passed_on():
    begun = threading.Event()
    ended: list[str] = []

    def fails() -> None:
        begun.wait(30)
        raise RuntimeError("no")

    def works() -> None:
        begun.set()
        time.sleep(0.2)
        ended.append("works")

    def both() -> None:
        try:
            side_by_side(pool, [fails, works])
        finally:
            ended.append("over")

    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="no"):
        both()
    assert ended == ["works", "over"]


def test_helpers_that_cannot_begin_leave_the_number_alone(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        torch_helpers(os.getpid(), 2)
    monkeypatch.undo()
    assert in_a_new_thread() == OTHERS
