"""The page says what the numbers say, and names what failed."""

from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import CPU
from benchmarks.page import page
from tests.benchmarks.example import measured

MACHINE = {"processor": "A processor", "cores": "2"}


def entry(*, failed: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.example --rounds 3",
        "date": "2031-05-06",
        "commit": "0123456789abcdef",
        "seconds": 90.0,
        "machine": MACHINE,
        "versions": {"torch": "2.13"},
        "load": "0.10 a core",
        "measured": None if failed else asdict(measured()),
        "failed": failed,
        **changes,
    }


def test_table_command_machine_and_date_are_there() -> None:
    lines = page({"cpu": {"score_step": entry()}}).splitlines()
    assert "| variant | ms | ± iqr | times as fast as theirs |" in lines
    assert "| --- | ---: | ---: | ---: |" in lines
    assert "| ours | 617 | 10 | 2 |" in lines
    assert "    python -m benchmarks.example --rounds 3" in lines
    assert "2031-05-06, commit 0123456789, 90 s." in lines
    assert "| processor | A processor |" in lines
    assert "| load before the first one | 0.10 a core |" in lines
    assert any(line.startswith(f"1 of {len(CPU)} benchmarks, 1.5 minutes in all. ") for line in lines)
    assert "## On a GPU" not in lines


def test_the_glance_marks_what_is_not_told_apart() -> None:
    question = "| How long is a step of score training under attack? | theirs, 1,234 ms |"
    assert f"{question} ours: 2 |  |" in page({"cpu": {"score_step": entry()}})
    close = entry(measured=asdict(measured(ms=1216.0, ratio=1.015)))
    assert f"{question} ours: 1.01 (within the spread) |  |" in page({"cpu": {"score_step": close}})


def test_the_glance_shows_the_fastest_and_the_slowest() -> None:
    rows = [{"variant": str(ratio), "ms": 60 / ratio, "ratio": ratio} for ratio in (1.0, 3.0, 0.5, 2.0)]
    most = entry(measured={**asdict(measured()), "rows": rows, "baseline": "1.0"})
    assert "| 1.0, 60 ms | 3.0: 3 (timed once) | 0.5: 0.5 (timed once) |" in page({"cpu": {"score_step": most}})


def test_a_failure_is_named_with_its_reason() -> None:
    made = page({"cpu": {"score_step": entry(), "attack": entry(failed="the network is gone")}})
    assert "**Failed: attack.**" in made
    assert "**Failed**: `the network is gone`" in made


def test_the_order_is_that_of_the_list_and_what_it_lacks_is_left_out() -> None:
    made = page({"cpu": {"shared_stages": entry(), "gone": entry(), "training_step": entry()}, "cuda": {}})
    assert made.index("How long is a training step?") < made.index("What do shared stages save?")
    assert f"2 of {len(CPU)} benchmarks" in made


def test_another_machine_is_told_where_it_differs() -> None:
    slow = entry(machine={"processor": "Another one"}, date="2031-01-01")
    made = page({"cpu": {"training_step": slow, "score_step": entry()}, "cuda": {"attack": entry()}})
    assert made.index("| processor | A processor |") < made.index("| processor | Another one |")
    assert made.count("On another machine, or with other versions:") == 1
    assert "## On a GPU" in made
