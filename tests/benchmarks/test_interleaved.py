"""Variants in turns: a clock that the variants themselves move says what has to come out."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import interleaved
from benchmarks.interleaved import chosen, compare, quartile_range, time_in_turns, timing_options
from benchmarks.measured import Measured, cell
from tests.benchmarks.example import measured


class Clock:
    """Stands still except when a variant runs, and remembers which ones ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def variant(self, name: str, *seconds: float) -> Callable[[], None]:
        """One that takes these seconds, one after the other."""
        left = list(seconds)

        def run() -> None:
            self.ran.append(name)
            self.now += left.pop(0)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(interleaved, "_now", lambda device, clock: made.now)
    return made


def options(*words: str, warmup: int = 1) -> argparse.Namespace:
    return timing_options(None, rounds=3, warmup=warmup, batch=2).parse_args([*words])


def test_medians_and_ratios_are_saved(clock: Clock, tmp_path: Path) -> None:
    variants = {
        "theirs": clock.variant("theirs", 99, 2, 6, 4),  # the first one warms up
        "ours": clock.variant("ours", 99, 1, 2, 3),
        "slow": clock.variant("slow", 16),
    }
    file = tmp_path / "saved.json"
    medians = compare("Steps", variants, baseline="theirs", options=options("--save", str(file)), once={"slow": 0.5})
    assert medians == {"theirs": 4000, "ours": 2000, "slow": 32000}  # half of the work took 16 s
    saved = Measured.read(file)
    assert [row["ratio"] for row in saved.rows] == [1, 2, 0.125]
    assert [row["iqr_ms"] for row in saved.rows] == [2000, 1000, None]
    assert (saved.title, saved.baseline, saved.settings["batch"]) == ("Steps, cpu", "theirs", 2)
    assert "slow: timed once, after the others, with 50% of the work, and reckoned up to all of it." in saved.notes
    assert clock.ran[-1] == "slow"


def test_another_variant_goes_first_in_each_round(clock: Clock) -> None:
    variants = {name: clock.variant(name, 1, 1, 1) for name in "ab"}
    compare("Steps", variants, baseline="a", options=options(warmup=0))
    assert "".join(clock.ran) == "abbaab"


def test_further_columns_are_asked_for_by_name(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    variants = {"a": clock.variant("a", 2, 2, 2, 2)}
    given = options("--save", str(file))
    compare("Steps", variants, baseline="a", options=given, more=lambda name: {"of": name})
    row = json.loads(file.read_text())["rows"][0]
    assert row["of"] == "a"


def test_the_quartiles_are_those_of_numpy() -> None:
    seconds = np.random.default_rng(0).uniform(1, 2, 8)
    low, high = np.percentile(seconds * 1000, [25, 75])
    assert quartile_range(list(seconds)) == pytest.approx(high - low)


def test_only_keeps_the_baseline_and_refuses_what_is_not_there() -> None:
    variants = {"theirs": 1, "ours": 2, "other": 3}
    assert chosen(variants, baseline="theirs", options=options("--only", "ours")) == {"theirs": 1, "ours": 2}
    assert chosen(variants, baseline="theirs", options=options()) == variants
    with pytest.raises(SystemExit, match="got ourz"):
        chosen(variants, baseline="theirs", options=options("--only", "ourz"))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    measured().save(tmp_path / "a.json")
    assert Measured.read(tmp_path / "a.json") == measured()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), ("ours", "ours"), (61949149, "61,949,149"), (1234.5, "1,234"), (99.96, "100"), (0.0123, "0.0123")],
)
def test_a_cell_has_three_digits(value: str | float | None, shown: str) -> None:
    assert cell(value) == shown


def test_seconds_are_those_of_the_clock_that_is_given():
    ticks = iter(range(0, 100, 7))
    assert time_in_turns({"a": int}, rounds=2, warmup=1, clock=lambda: next(ticks)) == {"a": [7, 7]}
