"""The GPU script says what failed and keeps to its time."""

import time

import pytest

from benchmarks import gpu


def test_a_module_that_fails_or_hangs_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    for name, text in (("fine", ""), ("wrong", "raise SystemExit(3)"), ("slow", "import time; time.sleep(60)")):
        (tmp_path / f"{name}.py").write_text(text)
    assert gpu.run(["fine"], seconds=60)
    assert not gpu.run(["wrong"], seconds=60)
    start = time.monotonic()
    assert not gpu.run(["slow"], seconds=1)
    assert time.monotonic() - start < 50
    assert not gpu.run(["fine"], seconds=0)


def test_what_failed_is_named_and_the_rest_is_run_all_the_same(monkeypatch, capsys):
    commands = []

    def run(words, seconds):
        commands.append(words[0])
        return words[0] != "pytest"

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr("sys.argv", ["gpu", "--minutes", "2"])
    with pytest.raises(SystemExit, match=r"error: failed, or not done in 2 minutes: python -m pytest -q -m gpu"):
        gpu.main()
    assert commands == ["pytest", "benchmarks.all", "benchmarks.stage_times", "benchmarks.stage_times"]
