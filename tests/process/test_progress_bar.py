"""Who may draw a bar where."""

import os
import pty
import subprocess
import sys

from hydra_det.process import progress_bar, script
from hydra_det.process.progress_bar import may_draw

ASK = """
import sys
from hydra_det.process.progress_bar import may_draw
print("may" if may_draw(sys.stdout) and may_draw(sys.stdout) else "may not", flush=True)
sys.stdin.readline()
"""


def test_one_command_at_a_time_draws_on_a_terminal(tmp_path):
    leader, terminal = pty.openpty()

    def start():
        return subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=terminal)

    def heard():
        text = ""
        while not text.strip() or not text.endswith("\n"):
            text += os.read(leader, 100).decode()
        return text.strip()

    first = start()
    assert heard() == "may"
    second = start()
    assert heard() == "may not"
    for process in (first, second):
        process.communicate(b"\n")
    third = start()
    assert heard() == "may"
    third.communicate(b"\n")
    os.close(leader)
    os.close(terminal)


def test_jobs_side_by_side_and_further_processes_draw_none(monkeypatch):
    leader, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(progress_bar, "_held", {})
        assert may_draw(stream)
        for name in ("in_parallel", "is_helper"):
            with monkeypatch.context() as patched:
                patched.setattr(progress_bar, name, lambda: True)
                assert not may_draw(stream)
        for descriptor in progress_bar._held.values():
            os.close(descriptor)
    os.close(leader)
    assert script.in_parallel is progress_bar.in_parallel


def test_no_bar_where_nobody_looks(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        assert not may_draw(stream)
