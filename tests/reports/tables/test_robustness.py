"""A suite on the terminal and as a picture: the robust AP is an upper bound and is called one, the rest is exact."""

from typing import Any, cast

import matplotlib.figure
import pytest
from rich.console import Console

from hydra_det.records.robustness import Robustness
from hydra_det.reports.tables.robustness import draw_robustness, suite_table
from tests.reports.example import network


def suite(robust: float | None = 0.021) -> Robustness:
    """AP 0.334 clean, 0.086 under PGD, and in the worst case 0.021."""
    pgd = {"name": "pgd", "attack": {"name": "pgd", "epsilon": 8 / 255}, "worst_for": 3, "seconds": 1.0, "config": {}}
    found: dict[str, Any] = {
        "suite": "standard",
        "epsilon": 8 / 255,
        "images": 30,
        "clean": network(0.334, None)["clean"],
        "attacks": [pgd | {"metrics": network(0.086, None)["clean"]}],
        "combined": network(0.021, None)["clean"],
        "robust_map": robust,
        "curve": [1.0, 2.0],
        "alarms": [],
    }
    return cast("Robustness", found)


def printed(found: Robustness, *, width: int = 110) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(suite_table(found, title="dense"))
    return capture.get()


def test_the_robust_ap_is_at_most_what_the_worst_case_leaves():
    text = printed(suite())
    assert "Robust AP in the L-infinity ball of 0.03137 (8/255): at most 0.021, that of the worst case." in text
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines() if "0." in line}
    assert "0.021" in rows["worst case ≤"]
    assert "0.086" in rows["pgd"], "under a named attack AP is exact"
    assert "≤" not in rows["pgd"] + rows["clean"]


def test_no_figure_is_cut_in_a_narrow_terminal():
    found = suite()
    long = {"name": "average_precision_vanishing", "attack": {"name": "pgd", "epsilon": 0.25}}
    found["attacks"].append(cast("Any", {**found["attacks"][0], **long}))
    text = printed(found, width=80)
    assert "0.086" in text
    assert "…" not in text


def test_where_it_is_not_defined_nothing_is_bounded():
    text = printed(suite(None))
    assert "(8/255): not defined, that of the worst case." in text


def test_the_bar_of_the_worst_case_is_called_an_upper_bound(tmp_path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, _: drawn.append(figure))
    draw_robustness(suite(), tmp_path / "robustness.png", axis=None)
    names = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert names == ["clean", "pgd", "worst case ≤"]
