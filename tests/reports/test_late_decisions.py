"""What was decided on late, from the file beside the runs to the rows of every table; what is wrong in it is said."""

import json
import shutil

import pytest

from hydra_det.records.record import RecordError, write_record
from hydra_det.reports.late_decisions import LATE_DECISIONS, LateDecision, read_late_decisions
from hydra_det.reports.page.page import page
from hydra_det.reports.page.report import make_report
from hydra_det.reports.runs import read_runs
from hydra_det.reports.statistics.claims import CLAIMS
from publish.results_claims import answers_in_short, claim_table
from publish.write_results import read
from tests.reports.example import grid

WHY = "The runs at 50 % came after a look."


@pytest.fixture
def folder(tmp_path):
    """Weights ahead of kernels in six seeds, which are enough, decided on late."""
    for name, record in grid(
        ["deeplift_paper, weight", "deeplift_paper, kernel"], ratios=[0.5], seeds=range(6)
    ).items():
        write_record(tmp_path / "runs" / name / "record.json", record)
    (tmp_path / "runs" / LATE_DECISIONS).write_text(json.dumps([{"why": WHY, "ratios": [0.5]}]))
    return tmp_path / "runs"


def test_a_file_beside_the_runs_marks_the_rows(folder):
    runs = read_runs([folder, folder.parent])
    assert runs.late == [LateDecision(WHY, (0.5,))], "found twice, it counts once"
    report = make_report(read_runs(folder), paper=False)
    source = page(report)
    assert "yes (hint)" in source
    assert "All others are lower (hint)." in source
    assert "A hint: decided on after looking." in source
    assert "what cannot be told from it (hint)" in source
    assert report.comparisons.set_index("metric").loc["map_attacked", "hint"] == "decided on after looking"
    found = read(folder)
    assert found.notes == [f"- {WHY} What rests on that is a hint."]
    for text in (claim_table(found.answered, "paper"), answers_in_short({"cells": found.answered}, "paper")):
        assert "yes (hint)" in text
        assert text.endswith("|\n\nA hint: decided on after looking.\n")


def test_without_it_six_seeds_are_no_hint(folder):
    (folder / LATE_DECISIONS).unlink()
    source = page(make_report(read_runs(folder), paper=False))
    assert "(hint)" not in source
    assert "A hint" not in source
    assert "All others are lower." in source
    found = read(folder)
    assert found.notes == []
    assert claim_table(found.answered, "paper").endswith("|\n")


def test_five_seeds_are_one_on_every_part_of_the_page(folder):
    (folder / LATE_DECISIONS).unlink()
    for last in folder.glob("*_seed5"):
        shutil.rmtree(last)
    source = page(make_report(read_runs(folder), paper=False))
    assert source.count("A hint: with 5 seeds no exact p below 0.0625 is possible.") == 3, "summary, claims, p-values"
    assert "yes (hint)" in source
    assert "All others are lower (hint)." in source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "expected a JSON list of late decisions"),
        ("{}", r"expected a list of late decisions, got \{\}"),
        ('["the runs at 90 %"]', "entry 1: expected an object whose `why` says"),
        ('[{"why": ""}]', "entry 1: expected an object whose `why` says"),
        ('[{"why": "so", "ratio": [0.9]}]', "entry 1: expected the keys why, ratios, claims, got ratio"),
        ('[{"why": "so"}, {"why": "so", "ratios": 0.9}]', "entry 2: ratios: expected a list with something in it, got"),
        ('[{"why": "so", "ratios": []}]', "ratios: expected a list with something in it, got"),
        ('[{"why": "so", "ratios": [90]}]', "ratios: expected shares of the weights from 0 to 1, got 90"),
        ('[{"why": "so", "ratios": [true]}]', "ratios: expected shares of the weights from 0 to 1, got True"),
        ('[{"why": "so", "ratios": [NaN]}]', "expected a finite number"),
        ('[{"why": "so", "claims": ["Learned is ahead"]}]', "claims: expected a claim as tables of claims write it"),
        ('[{"why": "so", "claims": [["Learned"]]}]', "claims: expected a claim as tables of claims write it"),
        (f'[{"[" * 100_000}', "expected a JSON list of late decisions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    path = tmp_path / LATE_DECISIONS
    path.write_text(content)
    with pytest.raises(RecordError, match=message) as caught:
        read_late_decisions(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_claim_is_named_by_its_words(tmp_path):
    path = tmp_path / LATE_DECISIONS
    path.write_text(json.dumps([{"why": "so", "claims": [CLAIMS[0].words]}]))
    assert read_late_decisions(path) == [LateDecision("so", (), (CLAIMS[0].words,))]
