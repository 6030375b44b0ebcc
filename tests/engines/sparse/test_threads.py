"""Work that is shared out to threads is done, whoever does it; torch has as many threads afterwards as before."""

import os
import threading
from concurrent.futures import Future
from functools import partial

import pytest
import torch

pytest.importorskip("numba")

from hydra_det.compaction.compact import as_graph
from hydra_det.engines.sparse import tuning
from hydra_det.engines.sparse.engine import Sparse
from hydra_det.engines.sparse.planning import BY_TORCH
from hydra_det.engines.sparse.threads import helpers, side_by_side
from tests.engines.sparse.example import equal, images
from tests.init.example import answering


def test_all_jobs_are_done_by_several_threads():
    met = threading.Barrier(3)  # nobody passes before three have come
    done: list[int] = []

    def job(number: int) -> None:
        met.wait(30)
        done.append(number)

    side_by_side([partial(job, number) for number in range(3)])
    assert sorted(done) == [0, 1, 2]


def test_without_helpers_one_thread_does_all(monkeypatch):
    monkeypatch.setattr(helpers(os.getpid()), "submit", lambda *_: Future())  # they never come
    done: list[int] = []
    side_by_side([partial(done.append, number) for number in range(3)])
    assert done == [0, 1, 2]


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_waits_for_the_others_and_is_passed_on(broken):
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def works() -> None:
        begun.set()
        may_end.wait(30)
        ended.append(True)

    def fails() -> None:
        begun.wait(30)
        may_end.set()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        side_by_side([fails, works] if broken == 0 else [works, fails])
    assert ended


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_steps_of_torch_are_shared_out_and_leave_its_threads_as_they_were(monkeypatch, threads):
    net = as_graph(answering("yolov3_tiny"))
    monkeypatch.setattr(tuning, "_best", lambda *_: BY_TORCH)
    made = Sparse(net, threads=threads)
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        assert equal(net, made, images())
        seen = [torch.get_num_threads()]
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [5, 5], "of this thread, and of one that begins now"
