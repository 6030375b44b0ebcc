"""The sparse engine answers what torch answers, whatever the network, the masks, the size and the threads."""

import os
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

pytest.importorskip("numba")

from hydra_det.compaction.compact import as_graph, compact
from hydra_det.engines.sparse import engine, running, tuning
from hydra_det.engines.sparse.engine import Sparse
from hydra_det.engines.sparse.planning import BY_TORCH
from tests.compaction.example import with_masks
from tests.engines.sparse.example import equal, images
from tests.init.example import answering

NAMES = ["yolov3", "yolov3_spp", "yolov3_tiny", "darknet_depthwise", "darknet_varied"]
SIZES = [(96, 96), (64, 160), (32, 32)]  # the last: maps of one pixel


@pytest.fixture(scope="module")
def pruned():
    return compact(with_masks("yolov3_spp", "weight", 0.8)).network


@pytest.mark.parametrize("kind", ["dense", "weight", "kernel", "filter_group"])
@pytest.mark.parametrize("name", NAMES)
def test_it_answers_like_torch(name, kind):
    net = as_graph(answering(name)) if kind == "dense" else compact(with_masks(name, kind, 0.8)).network
    for threads in (1, 3):
        made = Sparse(net, threads=threads, tuned=False)
        for size in SIZES:
            assert equal(net, made, images(size=size))


@pytest.mark.parametrize("name", ["yolov3_spp", "darknet_varied"])
def test_every_way_of_computing_a_convolution_answers_the_same(name, monkeypatch):
    """Tuning chooses by time, so the ways are taken in turns, torch's among them."""
    net = compact(with_masks(name, "weight", 0.5)).network
    for shift in range(4):
        count = iter(range(shift, 10**6))
        monkeypatch.setattr(engine, "seconds", lambda program, count=count, **_: float(next(count) % 4))
        made = Sparse(net, threads=2)
        assert equal(net, made, images())


def test_dense_layers_go_to_torch(monkeypatch):
    net = as_graph(answering("yolov3_tiny"))
    monkeypatch.setattr(tuning, "_best", lambda *_: BY_TORCH)
    made = Sparse(net, threads=2)
    program, _ = made._program((96, 96))
    assert len(program.dense) == sum(isinstance(module, nn.Conv2d) for module in net.modules())
    assert equal(net, made, images())


def test_images_of_many_sizes_and_counts(pruned):
    made = Sparse(pruned, threads=1, tuned=False)
    for number, side in enumerate((32, 64, 96, 128, 160, 192, 32)):
        assert equal(pruned, made, images(1 + number % 3, (side, 96), seed=number))
    assert len(made._programs) == engine.SIZES


def test_one_image_leaves_nothing_for_the_next(pruned):
    made = Sparse(pruned, threads=1, tuned=False)
    first = made(images(1))
    made(1e3 * images(1, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(first, made(images(1)), strict=True))


def test_threads_change_nothing(pruned):
    one, three = (Sparse(pruned, threads=threads, tuned=False) for threads in (1, 3))
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(one(images()), three(images()), strict=True))


def test_a_thread_that_comes_late_keeps_nobody_waiting(pruned, monkeypatch):
    wanted = Sparse(pruned, threads=1, tuned=False)(images(1))
    made = Sparse(pruned, threads=3, tuned=False)
    monkeypatch.setattr(running.helpers(os.getpid()), "submit", lambda *_: Future())  # they never come
    assert all(torch.equal(a, b) for a, b in zip(wanted, made(images(1)), strict=True))


def test_two_engines_and_two_callers_at_once(pruned):
    other = compact(with_masks("yolov3_tiny", "kernel", 0.7)).network
    engines = {name: Sparse(net, threads=2, tuned=False) for name, net in (("pruned", pruned), ("other", other))}
    wrong: list[str] = []

    def ask(name, seed, wanted):
        for _ in range(30):
            found = engines[name](images(seed=seed))
            wrong.extend(name for a, b in zip(wanted, found, strict=True) if not torch.equal(a, b))

    asked = [(name, seed, engines[name](images(seed=seed))) for name in engines for seed in range(2)]
    callers = [threading.Thread(target=ask, args=one) for one in asked]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


class Answers(Dataset):
    """Raw maps, computed in the process that asks."""

    def __init__(self, made):
        self.made = made

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.made(images(1, seed=index))[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_in_the_workers_of_a_loader(pruned):
    made = Sparse(pruned, threads=2, tuned=False)
    wanted = [made(images(1, seed=index))[0] for index in range(4)]
    loader = DataLoader(Answers(made), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert all(torch.equal(a, b) for a, b in zip(wanted, loader, strict=True))


def test_an_interrupt_lets_the_other_threads_go(pruned, monkeypatch):
    made = Sparse(pruned, threads=3, tuned=False)
    wanted = made(images(1))
    helpers = running.helpers(os.getpid())
    submit, asked = helpers.submit, []

    def interrupted(*work):
        asked.append(submit(*work))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return asked[-1]

    monkeypatch.setattr(helpers, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(images(1))
    assert made._programs == {}, "a thread may still write into the memory of before"
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(wanted, made(images(1)), strict=True))


def test_wrong_numbers_stay_wrong(pruned):
    """What is not a number must not be hidden: torch's maps have it, too."""
    spoilt = images(1)
    spoilt[0, 0, 40, 40] = torch.nan
    made = Sparse(pruned, threads=1, tuned=False)
    for want, got in zip(pruned(spoilt), made(spoilt), strict=True):
        assert torch.equal(want.isnan().any(dim=-1), got.isnan().any(dim=-1))


LITTLE = """
import logging, sys, torch
logging.basicConfig(level=logging.INFO, format="%(message)s")
from hydra_det.compaction.compact import compact
from hydra_det.engines.sparse.compiled.jit import lanes
from hydra_det.engines.sparse.engine import Sparse
from tests.compaction.example import with_masks
from tests.engines.sparse.example import equal, images
net = compact(with_masks("yolov3_tiny", "weight", 0.8)).network
images = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    found = zip(net(images), Sparse(net, threads=2, tuned=False)(images), strict=True)
    worst = max(float((a - b).abs().max() / a.abs().max()) for a, b in found)
print(lanes(), worst <= 1e-5)
"""


def run_apart(tmp_path, **environment):
    """What a process says that has its machine code in a folder of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LITTLE], check=False, capture_output=True, text=True, timeout=300,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.slow
def test_machine_code_is_kept_and_made_anew_where_it_is_spoilt(tmp_path):
    answer, said = run_apart(tmp_path)
    assert answer.endswith("True")
    assert "sparse: compiled in" in said
    answer, said = run_apart(tmp_path)
    assert answer.endswith("True")
    assert "compiled" not in said
    for kept in tmp_path.rglob("work.run*.nb*"):
        kept.write_bytes(kept.read_bytes()[:100])
    answer, said = run_apart(tmp_path)
    assert answer.endswith("True")
    assert "cannot be read or written (pickle data was truncated); it is made anew" in said


AVX2 = "+avx,+avx2,+fma,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+bmi,+bmi2,+cx8,+cx16,+f16c,+fxsr,+lzcnt,+cmov"


@pytest.mark.slow
def test_machine_code_of_another_processor_is_not_used(tmp_path):
    """With vectors of 8, which every processor has that has vectors of 16; both find their own in one folder."""
    first, _ = run_apart(tmp_path)
    for _ in range(2):
        small, _ = run_apart(tmp_path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=AVX2)
        assert small == "8 True"
    again, said = run_apart(tmp_path)
    assert again == first
    assert "compiled" not in said


@pytest.mark.slow
def test_where_nothing_may_be_written_it_compiles_anew(tmp_path):
    (tmp_path / "file").write_text("")
    answer, said = run_apart(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert answer.endswith("True")
    assert "kept in memory only" in said
    answer, _ = run_apart(tmp_path, NUMBA_ENABLE_AVX="0", NUMBA_CACHE_DIR=str(tmp_path / "other"))
    assert answer.startswith("0 "), "Numba would not use them"


def test_without_vectors_it_is_not_there():
    done = subprocess.run(
        [sys.executable, "-c", "from hydra_det.engines.registry import check_installed as c; c(['sparse'])"],
        check=False, capture_output=True, text=True, timeout=300,
        env={**os.environ, "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse,+sse2"},
    )  # fmt: skip
    assert "expected a processor with AVX2 or AVX-512 for sparse, got one without" in done.stderr
