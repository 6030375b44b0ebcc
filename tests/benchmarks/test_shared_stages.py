"""What a sweep saves, where the commands take known times."""

import sys
from pathlib import Path

import pytest

from benchmarks import shared_stages
from benchmarks.measured import Measured


def test_the_sweep_is_compared_with_as_many_runs_of_the_mean_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []

    def seconds(*words: str, root: Path) -> float:
        ran.append(words)
        if "-m" in words:
            return 90.0  # the sweep, and the dry run before it
        return 40.0 if "prune.ratio=0.5" in words else 50.0

    file = tmp_path / "saved.json"
    monkeypatch.setattr(shared_stages, "seconds", seconds)
    monkeypatch.setattr(sys, "argv", ["", "--ratios", "4", "--separate", "2", "--save", str(file), "data=shapes"])
    shared_stages.main()
    ratios = next(word for words in ran for word in words if "," in word).removeprefix("prune.ratio=").split(",")
    alone = [words for words in ran if words[0] != "-m"]
    assert len(ratios) == 4
    assert len(alone) == 2
    assert all("data=shapes" in words for words in ran)
    times = [40.0 if words[0] == "prune.ratio=0.5" else 50.0 for words in alone]
    rows = Measured.read(file).rows
    assert rows[-1]["s"] == 4 * sum(times) / 2
    assert rows[0]["of separate runs"] == pytest.approx(90 / (4 * sum(times) / 2))
    assert [row["s"] for row in rows[1:-1]] == times
