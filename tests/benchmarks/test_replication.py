"""The replication keeps to its time and collects what is a result."""

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from benchmarks import replication
from benchmarks.replication import CONFIGURATIONS, RATIOS, Clock, main
from hydra_det.pipeline import build


@pytest.fixture(autouse=True)
def interrupts():
    """As `main` wants them, also where these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Every command it runs, as (words, share of the time)."""
    monkeypatch.chdir(tmp_path)
    commands = []

    def note(_, words, share=1.0):
        commands.append((list(words), share))
        return True

    monkeypatch.setattr(Clock, "run", note)
    return commands


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["replication", *words])
    main()


def finish(tmp_path, name="scaled_weight_0.75_seed0"):
    """A finished run in the grid of bccd."""
    folder = tmp_path / "outputs" / "replication" / "bccd" / "grid" / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record_of(name))


def record_of(name):
    """What is read of a record."""
    return json.dumps({"name": name, "created": "2030-01-02T03:04:06+00:00", "compaction": None})


def test_a_command_that_takes_too_long_is_interrupted_and_may_leave_in_order(tmp_path, capsys):
    script = (
        "import sys, time, pathlib\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pathlib.Path(sys.argv[1], 'left').touch()\n"
    )
    clock = Clock(minutes=4 / 60)
    assert not clock.run(["-c", script, str(tmp_path)])
    assert clock.left() > -20
    assert {path.name for path in tmp_path.iterdir()} == {"ready", "left"}
    assert not clock.run(["-c", "raise SystemExit"]), "nothing is begun when the time is over"


def test_a_command_that_ends_is_waited_for(tmp_path):
    start = time.monotonic()
    assert Clock(minutes=1).run(["-c", f"open({str(tmp_path / 'done')!r}, 'w')"])
    assert (tmp_path / "done").exists()
    assert time.monotonic() - start < 50


def test_a_command_that_fails_is_no_success_and_without_a_start_there_is_no_grid(monkeypatch, tmp_path):
    assert not Clock(minutes=1).run(["-c", "raise SystemExit(3)"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Clock, "run", lambda *_, **__: False)
    with pytest.raises(SystemExit, match="the networks to start from, in outputs/replication/bccd/start: not done"):
        run(monkeypatch, "data=bccd")
    assert not (tmp_path / "docs").exists()


def test_ctrl_c_reaches_what_it_runs(monkeypatch, tmp_path):
    class Interrupted(subprocess.Popen):
        def wait(self, timeout=None):
            if not (tmp_path / "seen").exists():
                (tmp_path / "seen").touch()
                while not (tmp_path / "ready").exists():
                    time.sleep(0.05)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr("benchmarks.replication.subprocess.Popen", Interrupted)
    script = (
        "import sys, time, pathlib\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pathlib.Path(sys.argv[1], 'left').touch()\n"
    )
    with pytest.raises(SystemExit, match="interrupted; type the same command again"):
        Clock(minutes=1).run(["-c", script, str(tmp_path)])
    assert (tmp_path / "left").exists()


def test_it_can_be_interrupted_where_a_shell_ignores_interrupts(typed, monkeypatch, tmp_path):
    finish(tmp_path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(monkeypatch, "data=bccd", "--suite", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runs_of_another_ratio_are_not_counted(typed, monkeypatch, tmp_path, capsys):
    finish(tmp_path)
    finish(tmp_path, "scaled_weight_0.5_seed0")
    run(
        monkeypatch,
        "data=bccd",
        "--suite",
        "",
        "--ratios",
        "0.75",
        "--seeds",
        "0",
        "1",
        "--configurations",
        "scaled_weight",
    )
    results = "outputs/replication/bccd/results"
    assert f"1 of 2 runs are there; results in {results}: report.py runs={results}\n" in capsys.readouterr().out


def test_a_misspelt_option_is_refused(typed, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "data=bccd", "--sed", "3")
    assert "error: expected overrides as of train.py beside the options, got --sed" in capsys.readouterr().err
    assert typed == []


def test_overrides_may_stand_behind_an_option_that_takes_several_words(typed, monkeypatch, tmp_path):
    finish(tmp_path, "recommended_0.9_seed0")
    words = ["--ratios", "0.9", "--suite", "", "--timed", "recommended", "stage.pretrain.epochs=3", "+note=a"]
    run(monkeypatch, "data=bccd", "--seeds", "0", *words)
    trained = [words for words, _ in typed if words[0].endswith("train.py")]
    assert len(trained) == 2
    assert all({"data=bccd", "stage.pretrain.epochs=3", "+note=a"} <= set(words) for words in trained)


def test_to_time_what_is_not_run_is_refused(typed, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "data=bccd", "--configurations", "recommended", "--timed", "recomended")
    assert "error: --timed: expected some of recommended, got recomended" in capsys.readouterr().err
    assert typed == []


def test_no_result_at_all_is_a_failure(typed, monkeypatch):
    with pytest.raises(SystemExit, match="no run came to a result; the reasons are in outputs/replication/bccd/grid"):
        run(monkeypatch, "data=bccd", "data.root=x")


def test_a_share_of_the_time_is_kept_for_what_comes_after():
    clock = Clock(minutes=1)
    assert 29 < clock.left(0.5) < 30


def test_starts_then_the_grid_and_no_colourless_start_without_need(typed, monkeypatch, tmp_path):
    finish(tmp_path, "scaled_weight_0.75_seed1")
    run(monkeypatch, "data=bccd", "data.root=x", "--jobs", "3", "--seeds", "1", "4", "--suite", "")
    (start, _), (grid, share) = typed
    launcher = {"hydra/launcher=devices", "hydra.launcher.per_device=3"}
    assert {"data=bccd", "data.root=x", "seed=1,4", *launcher} <= set(start) & set(grid)
    assert "data.greyscale=false,true" in start
    assert share == 1
    typed.clear()
    run(monkeypatch, "data=bccd", "--configurations", "scaled_weight")
    (start, _), (grid, share), *_ = typed
    assert "data.greyscale=false" in start
    assert "configuration=scaled_weight" in grid
    assert share == replication.SHARE, "suites come after it"


def test_what_is_a_result_is_copied_and_a_suite_is_run_on_finished_runs_alone(typed, monkeypatch, tmp_path):
    grid = tmp_path / "outputs" / "replication" / "bccd" / "grid"
    for name, file in (("scaled_weight_0.75_seed0", "record.json"), ("scaled_weight_0.75_seed1", "failed.txt")):
        (grid / name).mkdir(parents=True)
        (grid / name / file).write_text(name)
        (grid / name / "train.log").write_text("long")
    run(monkeypatch, "data=bccd", "--attacked", "scaled_weight", "--results", "docs/replication/bccd")
    attacked = [word for words, _ in typed for word in words if word.startswith("run=")]
    assert attacked == ["run=outputs/replication/bccd/grid/scaled_weight_0.75_seed0"]
    results = tmp_path / "docs" / "replication" / "bccd"
    assert not (grid.parent / "results").exists()
    found = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    assert found == {"scaled_weight_0.75_seed0/record.json", "scaled_weight_0.75_seed1/failed.txt"}


def test_what_no_longer_holds_is_taken_away_and_a_suite_of_an_earlier_network_made_again(typed, monkeypatch, tmp_path):
    names = [f"scaled_weight_0.75_seed{seed}" for seed in range(3)]
    results = tmp_path / "outputs" / "replication" / "bccd" / "results"
    for place, name in enumerate(names):
        finish(tmp_path, name)
        suite = tmp_path / "outputs" / "replication" / "bccd" / "suites" / name / "robustness.json"
        suite.parent.mkdir(parents=True)
        created = "2030-01-02T03:04:05+00:00" if place == 1 else "2030-01-02T03:04:07+00:00"  # the second is older
        suite.write_text(json.dumps({"origin": {"run": "/here/x", "created": created}}))
        os.utime(suite, (0, 0))  # what compact.py adds to a record makes no suite an old one
        for file in ("record.json", "failed.txt", "robustness.json"):
            (results / name).mkdir(parents=True, exist_ok=True)
            (results / name / file).write_text("old")
    (tmp_path / "outputs" / "replication" / "bccd" / "grid" / names[2] / "failed.txt").write_text("when run again")
    run(monkeypatch, "data=bccd", "--attacked", "scaled_weight", "--seeds", "0", "1", "2")
    attacked = [word for words, _ in typed for word in words if word.startswith("run=")]
    assert attacked == [f"run=outputs/replication/bccd/grid/{names[1]}"]
    found = {path.relative_to(results).as_posix(): path.read_text() for path in results.rglob("*") if path.is_file()}
    assert not (tmp_path / "docs").exists(), "a trial leaves what is kept in the project alone"
    assert found == {
        f"{names[0]}/record.json": record_of(names[0]),
        f"{names[0]}/robustness.json": '{\n "origin": {\n  "created": "2030-01-02T03:04:07+00:00",\n  '
        f'"run": "{names[0]}"\n }}\n}}\n',
        f"{names[1]}/record.json": record_of(names[1]),
        f"{names[2]}/failed.txt": "when run again",
    }


def test_ctrl_c_reaches_suites(typed, monkeypatch, tmp_path):
    finish(tmp_path)
    stopped: list[object] = []

    def interrupt(clock, words, *, share=1.0):
        if words[0].endswith("train.py"):
            return True
        clock.running.add("a suite")
        raise KeyboardInterrupt

    monkeypatch.setattr(Clock, "run", interrupt)
    monkeypatch.setattr(replication, "_stop", stopped.append)
    with pytest.raises(SystemExit, match="interrupted; type the same command again"):
        run(monkeypatch, "data=bccd")
    assert stopped == ["a suite"]


@pytest.mark.parametrize("place", ["grid", "suites", "grid/results"])
def test_results_do_not_lie_where_runs_do(typed, monkeypatch, tmp_path, place):
    finish(tmp_path)
    record = next(tmp_path.rglob("record.json"))
    (tmp_path / "link").symlink_to(tmp_path / "outputs" / "replication" / "bccd")
    with pytest.raises(SystemExit, match=f"error: --results: expected a folder of its own, got link/{place}, where"):
        run(monkeypatch, "data=bccd", "--results", f"link/{place}")
    assert record.exists()
    assert typed == []


def test_data_must_be_named(typed, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"error: data: expected data=bccd or another data set, got none"):
        run(monkeypatch, "data.root=x")


def test_the_lists_are_those_of_the_sweep():
    text = (build.SCRIPTS / "conf" / "sweep" / "replication.yaml").read_text()
    assert f"prune.ratio: {','.join(RATIOS.split())}\n" in text
    assert f"configuration: {','.join(CONFIGURATIONS.split())}\n" in text


def test_where_weights_are_given_no_start_is_trained(typed, monkeypatch, tmp_path, capsys):
    finish(tmp_path)
    (tmp_path / "tiny.weights").touch()
    run(monkeypatch, "data=bccd", "--suite", "", "--weights", "tiny.weights")
    ((grid, _),) = typed
    assert "model.weights=tiny.weights" in grid
    assert "sweep=replication" in grid
    with pytest.raises(SystemExit):
        run(monkeypatch, "data=bccd", "--weights", "nowhere.weights")
    assert "--weights: expected a file of weights, got nowhere.weights, which is not there" in capsys.readouterr().err


def test_networks_are_timed_once_and_one_after_the_other(typed, monkeypatch, tmp_path):
    grid = tmp_path / "outputs" / "replication" / "bccd" / "grid"
    states: dict[float, Any] = {
        0.9: None,
        0.95: {"latency": []},
        0.99: {"latency": [{"engine": "sparse"}]},
    }  # the second was interrupted
    for ratio, compaction in states.items():
        (grid / f"recommended_{ratio}_seed0").mkdir(parents=True)
        (grid / f"recommended_{ratio}_seed0" / "record.json").write_text(json.dumps({"compaction": compaction}))
    finish(tmp_path, "scaled_weight_0.9_seed0")
    words = ["--seeds", "0", "1", "--ratios", "0.9", "0.95", "0.99", "--jobs", "2", "--suite", ""]
    run(monkeypatch, "data=bccd", *words, "--timed", "recommended")
    timed = [words for words, _ in typed if words[0].endswith("compact.py")]
    assert [words[1] for words in timed] == [
        f"run=outputs/replication/bccd/grid/recommended_{ratio}_seed0" for ratio in (0.9, 0.95)
    ]
    assert all("engines=[openvino,sparse]" in words for words in timed)
    assert next(share for words, share in typed if "sweep=replication" in words) < 1, "some time is left for them"
    typed.clear()
    run(monkeypatch, "data=bccd", *words)
    assert not any(words[0].endswith("compact.py") for words, _ in typed), "nobody asked for it"
