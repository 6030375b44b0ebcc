"""The record: what is written comes back, what is wrong is named, a failed write leaves nothing."""

import dataclasses
import json
import subprocess
import sys
from copy import deepcopy

import pytest

from hydra_det.files.atomic import write_atomically
from hydra_det.records.record import RecordError, read_record, write_record
from tests.reports.example import example_record


def test_round_trip(tmp_path):
    write_record(tmp_path / "run" / "record.json", example_record())
    assert read_record(tmp_path / "run" / "record.json") == example_record()


def test_file_is_sorted_json_with_a_last_newline(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, example_record())
    text = path.read_text()
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_absent_numbers_survive(tmp_path):
    example = example_record()
    metrics = deepcopy(example.metrics)
    metrics["pruned"]["attacked"] = None
    changed = dataclasses.replace(example, metrics=metrics, latency={}, commit=None)
    write_record(tmp_path / "record.json", changed)
    assert read_record(tmp_path / "record.json") == changed


DELETED = object()
MALFORMED = [
    ("seed", DELETED, "seed: missing"),
    ("seed", "7", "seed: expected int, got '7'"),
    ("seed", True, "seed: expected int, got True"),
    ("colour", "red", "colour: not a key of a record"),
    ("schema_version", 99, "schema_version: expected 5, got 99"),
    ("schema_version", DELETED, "schema_version: expected 5, got None"),
    ("overrides", "a=1", "overrides: expected list"),
    ("overrides", ["a=1", 2], "overrides.1: expected str, got 2"),
    ("versions", {"torch": 2}, "versions.torch: expected str, got 2"),
    ("dataset.test", DELETED, "dataset.test: missing"),
    ("dataset", [], "dataset: expected dict"),
    ("sparsity.total", 12_000, "sparsity.total: expected kept + pruned = 11000"),
    ("sparsity.layers.1.shape", [3, "3"], "sparsity.layers.1.shape.1: expected int"),
    ("stages.0.reused", "yes", "stages.0.reused: expected bool"),
    ("metrics.pruned", DELETED, "metrics.pruned: missing"),
    ("metrics.dense.clean", None, "metrics.dense.clean: expected dict"),
    ("metrics.dense.attacked.paper.map_50", "high", "metrics.dense.attacked.paper.map_50: expected float"),
    ("metrics.dense.clean.coco.map_per_class.cat", [], "metrics.dense.clean.coco.map_per_class.cat: expected float"),
    ("latency.pruned.nms.iqr_ms", DELETED, "latency.pruned.nms.iqr_ms: missing"),
    ("attack.epsilon", None, "attack.epsilon: expected float"),
]


def change(payload, path, value):
    """Set or delete a dotted path of a nested payload."""
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        payload = payload[step]
    if value is DELETED:
        del payload[last]
    else:
        payload[last] = value


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED)
def test_malformed_record_is_refused_with_one_line(tmp_path, path, value, message):
    file = tmp_path / "record.json"
    payload = dataclasses.asdict(example_record())
    change(payload, path, value)
    file.write_text(json.dumps(payload))
    with pytest.raises(RecordError) as caught:
        read_record(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff"])
def test_not_a_record_at_all(tmp_path, text):
    file = tmp_path / "record.json"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(RecordError, match=r"record\.json: .*run the job again"):
        read_record(file)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"nowhere\.json: cannot be read"):
        read_record(tmp_path / "nowhere.json")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_know_are_refused_both_ways(tmp_path, number):
    file = tmp_path / "record.json"
    bad = example_record(config={"optimiser": [{"lr": number}]})
    with pytest.raises(RecordError, match=r"config\.optimiser\.0\.lr: expected a finite number"):
        write_record(file, bad)
    assert list(tmp_path.iterdir()) == []
    file.write_text(json.dumps(dataclasses.asdict(bad)))
    with pytest.raises(RecordError, match=r"config\.optimiser\.0\.lr"):
        read_record(file)


def test_failed_serialisation_keeps_the_old_file_and_leaves_no_other(tmp_path):
    file = tmp_path / "record.json"
    write_record(file, example_record())
    before = file.read_bytes()
    with pytest.raises(TypeError):
        write_record(file, example_record(config={"folder": tmp_path}))
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_bytes() == before


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    file = tmp_path / "text"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new\udcff")
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text() == "old"


def test_written_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_line_ends_are_kept(tmp_path):
    write_atomically(tmp_path / "text", "a\r\nb\n")
    assert (tmp_path / "text").read_bytes() == b"a\r\nb\n"


def test_only_the_standard_library_is_needed():
    code = "import sys, hydra_det.records.record; sys.exit(bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
