"""Whose code raised an error: ours, a library's that ours called, or that of a user."""

import json
from types import ModuleType, TracebackType

import pytest

from hydra_det.process.failures.users_code import users_line
from hydra_det.pruning.settings import PruneSettings


def raised(function) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        function()
    trace: TracebackType | None = caught.tb
    while trace and trace.tb_frame.f_code.co_filename == __file__:  # this test is code of a user, too
        trace = trace.tb_next
    return caught.value.with_traceback(trace)


def test_a_library_that_ours_called():
    assert users_line(raised(lambda: PruneSettings(ratio=2.0))) is None
    assert users_line(raised(lambda: json.loads("{"))) is None
    assert users_line(ValueError("never raised")) is None


def test_a_users_own_line_and_what_it_called(tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(
        "import torch\n\ndef add():\n    return torch.zeros(2) + torch.zeros(3)\n\ndef fail():\n    1 / 0\n"
    )
    module = ModuleType("theirs")
    exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    module.__dict__["PruneSettings"] = PruneSettings
    exec(compile("def ours():\n    PruneSettings(ratio=2.0)\n", str(file), "exec"), module.__dict__)
    assert users_line(raised(module.ours)) is None, "ours raised it, whoever called"
    assert users_line(raised(module.add)) == f"{file}, line 4"
    assert users_line(raised(module.fail)) == f"{file}, line 7"
