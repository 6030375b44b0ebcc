"""Tables: the numbers a reader looks for stand in the right line, at the width of a terminal."""

import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from hydra_det.pipeline.description import threat_model
from hydra_det.records.table import records_frame
from hydra_det.reports.statistics.cells import cell_table
from hydra_det.reports.tables.report import report_table
from hydra_det.reports.tables.terminal import run_table, sweep_table, threat_in_words, write_summary_csv
from tests.reports.example import example_record, grid, network, older


def render(renderable, *, width=110):
    file = io.StringIO()
    Console(width=width, file=file).print(renderable)
    return file.getvalue()


def rows(text):
    """The lines that are rows of a table: words, and numbers at least two blanks apart."""
    return [line.rstrip() for line in text.splitlines() if re.match(r" [a-zA-Z(].*\s\s", line)]


def test_what_a_run_and_a_report_print_fits_a_terminal_of_80_columns():
    records = grid(
        ["scaled, weight", "deeplift_paper, weight, greyscale"], ratios=(0.0, 0.5, 0.75, 0.9, 0.95), seeds=[0]
    )
    for content in (run_table(example_record()), report_table(cell_table(records_frame(records)), [])):
        wide = rows(render(content, width=200))
        assert len(wide) > 5
        assert set(wide) <= {line.rstrip() for line in render(content, width=80).splitlines()}


def cells(text, start):
    """The cells of the one line that starts so; columns lie at least two blanks apart."""
    lines = [line.strip() for line in text.splitlines() if re.match(rf"{re.escape(start)}(\s\s|$)", line.strip())]
    assert len(lines) == 1, (start, lines)
    return re.split(r"\s{2,}", lines[0])[1:]


@pytest.mark.parametrize("width", [100, 110, 120])
def test_run_table(width):
    text = render(run_table(example_record()), width=width)
    assert cells(text, "pretrain") == ["reused", "2.1 h", "stages/pretrain-a1"]
    assert cells(text, "finetune") == ["trained", "10.0 min", "stages/e5"]
    assert cells(text, "this run") == ["12.1 min"]
    assert cells(text, "AP clean") == ["0.412", "0.304", "73.8%"]
    assert cells(text, "AP50 clean") == ["0.612", "0.504", "82.4%"]
    assert cells(text, "AP50 clean, confidence ≥ 0.5") == ["0.602", "0.494", "82.1%"]
    assert cells(text, "AP attacked") == ["0.313", "0.245", "78.3%"]
    assert cells(text, "AP50 attacked") == ["0.513", "0.445", "86.7%"]
    assert cells(text, "weights kept by the masks") == ["11,000", "1,100", "10.0%"]
    assert cells(text, "sparsity") == ["0.000", "0.900"]
    assert cells(text, "forward ms") == ["426.00 ± 1.50", "417.00 ± 1.50", "97.9%"]
    assert cells(text, "total ms, confidence ≥ 0.5") == ["431.75 ± 1.75", "422.75 ± 1.75", "97.9%"]
    assert cells(text, "candidates, confidence ≥ 0.5") == ["84.0", "84.0", "100.0%"]
    assert cells(text, "NMS ms, confidence ≥ 0.001") == ["9.50 ± 0.75", "9.50 ± 0.75", "100.0%"]
    assert cells(text, "total ms, confidence ≥ 0.001") == ["438.75 ± 2.25", "429.75 ± 2.25", "97.9%"]
    assert cells(text, "candidates, confidence ≥ 0.001") == ["1,234.5", "1,234.5", "100.0%"]
    assert "NMS counts boxes of confidence 0.5 and more." in " ".join(text.split())
    assert "Attacked: pgd, L-infinity, epsilon 0.05 (12.75/255), step size 0.02, 5 steps." in text
    assert "Masks alone give no speed" in text
    assert "The compact one is what is left" in " ".join(text.split())
    alone = replace(example_record(), sizes={name: example_record().sizes[name] for name in ("dense", "pruned")})
    bare = " ".join(render(run_table(alone)).split())
    assert "Nothing compact could be made of this one" in bare
    assert "compact.py" not in bare, "which would refuse it"
    other = {"model": {"_target_": "hydra_det.modules.torchvision.ssd.SSDLiteDetector"}}
    assert "engines=[sparse]" in text
    assert "engines=[sparse]" not in render(run_table(replace(example_record(), config=other)), width=width)
    assert "In 1 of 2 masked layers the kernels are 1 x 1" in text


def test_what_an_attack_begins_with_and_raises_is_said():
    inner = {"_target_": "hydra_det.attacks.gradient.PGD", "epsilon": 0.04, "objective": "vanishing"}
    outer = {"_target_": "hydra_det.attacks.momentum.Momentum", "epsilon": 0.04, "steps": 7, "start": inner}
    said = threat_model(outer)
    assert said["start"] == "pgd, 5 steps, vanishing"
    assert threat_in_words(said) == (
        "Attacked: average_precision, L-infinity, epsilon 0.04 (10.2/255), 7 steps, objective average_precision, "
        "from where pgd, 5 steps, vanishing ended."
    )
    assert threat_model({**outer, "start": None})["start"] is None
    several = {"_target_": "hydra_det.attacks.task_wise.TaskWise", "objectives": ["box", "classification"]}
    assert "objective box, classification" in threat_in_words(threat_model({**several, "judge": "average_precision"}))


def test_run_that_was_not_attacked_or_timed():
    bare = example_record(metrics={"dense": network(0.4, None), "pruned": network(0.3, None)}, latency={})
    text = render(run_table(bare))
    assert cells(text, "AP attacked") == ["-", "-"]
    assert "Attacked:" not in text
    assert "forward ms" not in text
    assert "Time:" not in text


def test_one_network_timed():
    text = render(run_table(example_record(latency={"dense": example_record().latency["dense"]})))
    assert cells(text, "NMS ms, confidence ≥ 0.5") == ["2.50 ± 0.12", "-"]
    assert cells(text, "NMS ms, confidence ≥ 0.001") == ["9.50 ± 0.75", "-"]


def test_times_of_an_older_record_are_named_by_the_confidence_that_they_were_taken_at():
    latency = {name: older(timed) for name, timed in example_record().latency.items()}
    text = render(run_table(example_record(latency=latency)))
    assert cells(text, "total ms, confidence ≥ 0.001") == ["431.75 ± 1.75", "422.75 ± 1.75", "97.9%"]
    assert "≥ 0.5 " not in "".join(line for line in text.splitlines() if " ms" in line)
    assert "confidence 0.001 and more, as COCO's AP does" in " ".join(text.split())


def test_note_on_masks_only_where_something_was_pruned():
    sparsity = example_record().sparsity | {"ratio_asked": 0.0, "granularity": "weight"}
    text = render(run_table(example_record(sparsity=sparsity)))
    assert "Masks alone" not in text
    assert "a kernel is one weight" not in text


def test_names_with_brackets_are_not_markup():
    text = render(run_table(example_record(name="job[bold]7[/red]")))
    assert "job[bold]7[/red] · stages" in text


def sweep():
    first = example_record(name="ratio_0.5", sparsity=example_record().sparsity | {"kept": 5_500, "pruned": 5_500})
    unattacked = {"dense": network(0.412, 0.313), "pruned": network(0.2, None)}
    return records_frame(
        {"ratio_0.5": first, "ratio_0.9": example_record(name="ratio_0.9", metrics=unattacked, latency={})}
    )


@pytest.mark.parametrize("width", [100, 110, 120])
def test_sweep_table(width):
    failures = {"job[7]": "prune.ratio: expected a fraction, got 1.5; choose one below 1"}
    text = render(sweep_table(sweep(), failures), width=width)
    assert "2 finished · granularity kernel · init deeplift_paper · seed 7" in text
    assert cells(text, "ratio_0.5") == ["0.500", "0.412 → 0.304", "0.313 → 0.245", "431.8 → 422.8", "12.1 min"]
    assert cells(text, "ratio_0.9") == ["0.900", "0.412 → 0.200", "0.313 → -", "-", "12.1 min"]
    assert "1 failed" in text
    assert cells(text, "job[7]") == ["prune.ratio: expected a fraction, got 1.5; choose one below 1"]


def test_sweep_shows_the_choices_that_vary():
    base = example_record()
    records = {
        f"run_{seed}": replace(base, name=f"run_{seed}", seed=seed, config={"choices": {"init": init}})
        for seed, init in ((1, "scaled"), (2, None))
    }
    text = render(sweep_table(records_frame(records), {}))
    assert "2 finished · granularity kernel\n" in re.sub(" +\n", "\n", text)
    assert cells(text, "run_1")[:2] == ["scaled", "1"]
    assert cells(text, "run_2")[:2] == ["-", "2"]
    assert "failed" not in text


def test_sweep_of_nothing():
    text = render(sweep_table(records_frame({}), {"a": "no memory"}))
    assert "0 finished" in text
    assert cells(text, "a") == ["no memory"]


def test_summary_reads_back(tmp_path):
    path = tmp_path / "summary.csv"
    write_summary_csv(path, sweep())
    back = pd.read_csv(path, dtype={"folder": str})
    expected = sweep()
    for empty in ("varied", "pretraining", "hardening"):  # nothing varies, nothing is said: empty cells, read as NaN
        expected[empty] = expected[empty].astype(float)
    pd.testing.assert_frame_equal(back, expected, check_dtype=False)
