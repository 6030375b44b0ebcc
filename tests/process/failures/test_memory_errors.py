"""Memory that ran out is known from other errors, and said in one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hydra_det.process.failures.memory_errors import DEVICE, HOST, WORKER, explain, memory_kind

ALLOCATE = """
import resource, sys
import torch
from hydra_det.process.failures.memory_errors import explain, memory_kind

pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2**27,) * 2)
try:
    {allocation}
except Exception as error:
    print(memory_kind(error), type(error).__name__, explain(error))
"""


@pytest.mark.parametrize("allocation", ["torch.empty(2**28)", "bytearray(2**30)"])
def test_an_allocation_that_fails_is_known(allocation):
    code = ALLOCATE.format(allocation=allocation)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kind, name, said = done.stdout.split(maxsplit=2)
    assert (kind, name) == (HOST, "RuntimeError" if "torch" in allocation else "MemoryError")
    assert said.startswith("expected enough memory, got ")
    assert "data.batch_size" in said
    assert said.count("\n") == 1, "one line"


class Deadly(Dataset[int]):
    """Kills the process that loads from it."""

    def __init__(self, sent):
        self.sent = sent

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), self.sent)
        raise AssertionError


@pytest.mark.parametrize(("sent", "kind"), [(signal.SIGKILL, WORKER), (signal.SIGBUS, WORKER), (signal.SIGTERM, None)])
def test_a_loading_process_that_is_killed_is_known(sent, kind):
    with pytest.raises(RuntimeError, match="DataLoader worker") as raised:
        list(DataLoader(Deadly(sent), num_workers=1))
    assert memory_kind(raised.value) == kind
    assert ("fewer data.workers" in str(explain(raised.value))) == (kind == WORKER)


def test_what_torch_raises_for_a_gpu_is_known_and_where_it_was_is_said():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total of " + "x" * 999)
    error.add_note("pretrain, epoch 2, step 9, batch of 16")
    said = str(explain(error))
    assert memory_kind(error) == DEVICE
    assert said.startswith("pretrain, epoch 2, step 9, batch of 16: expected enough memory on the device, got CUDA out")
    assert "out_of_memory=halve" in said
    assert len(said) < 600
    assert "\n" not in said


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("CUDA out of memory"),  # somebody's words, not the allocator's
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_are_not(error):
    assert explain(error) is None


@pytest.mark.gpu
def test_a_gpu_that_is_full_is_known():
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert memory_kind(raised.value) == DEVICE


def test_a_report_needs_no_torch_for_it():
    code = "import sys; import hydra_det.process.failures.memory_errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
