"""How busy a GPU is, with a stand-in for the GPU and for the program of its driver."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu_load as module
from benchmarks.gpu_load import gpu_load


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peak_memory", lambda run, device: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"12-ab-{device}"))


def test_the_gpu_of_torch_is_asked_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERY", ("sh", "-c", 'test "$0" = --id=GPU-12-ab-1 && echo 41'))
    runs: list[int] = []
    assert gpu_load(lambda: runs.append(1), seconds=0.3) == {"peak_mib": 3, "gpu_percent": 41}
    assert len(runs) > 1


@pytest.mark.parametrize("query", [("no-such-program",), ("printf", "[N/A]"), ("false",)])
def test_without_an_answer_there_is_no_figure(query: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERY", query)
    assert gpu_load(lambda: None, seconds=0.1) == {"peak_mib": 3, "gpu_percent": None}
