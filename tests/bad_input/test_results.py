"""Records, results of suites and of searches, stages and configs of runs that are wrong, a row each."""

import pytest

from tests.bad_input.table import Row, as_parameters, assert_refused, swap

RECORDS = {
    "empty": Row("record", b"", "not JSON"),
    "cut off": Row("record", lambda content: content[:1000], "not JSON"),
    "no text": Row("record", b"\xff\xfe{}", "not JSON"),
    "a list": Row("record", b"[]", "the whole file: expected a JSON object"),
    "nested without end": Row("record", b'{"a":' * 100_000, "not JSON"),
    "another version": Row("record", swap('"schema_version": 5', '"schema_version": 3'), "expected 5, got 3"),
    "an unknown key": Row(
        "record", swap('"seed": 7,\n  "sha256"', '"seed": 7, "a\\nb": 1,\n  "sha256"'), "not a key of a record"),
    "no name": Row("record", swap('"name": "deeplift_0.9",', ""), "name: missing"),
    "a digit that flipped": Row("record", swap('"seed": 7,\n  "sha256"', '"seed": 6,\n  "sha256"'), "sha256: expected"),
    "another checksum": Row("record", swap('"sha256": "', '"sha256": "0'), "sha256: expected"),
    "a seed in words": Row("record", swap('"seed": 7,\n  "sha256"', '"seed": "7",\n  "sha256"'), "seed: expected int"),
    "a true seed": Row("record", swap('"seed": 7,\n  "sha256"', '"seed": true,\n  "sha256"'), "seed: expected int"),
    "a seed of 65 bits": Row(
        "record", swap('"seed": 7,\n  "sha256"', f'"seed": {2**64},\n  "sha256"'), "at most 64 bits"),
    "NaN": Row("record", swap('"lr": 0.1', '"lr": NaN'), "config.lr: expected a finite number"),
    "infinity": Row("record", swap('"epsilon": 0.05', '"epsilon": 1e400'), "attack.epsilon: expected a finite number"),
    "a long epsilon": Row(
        "record", swap('"epsilon": 0.05', f'"epsilon": {10**400}'), "attack.epsilon: expected a number of"),
    "half a surrogate pair": Row("record", swap("deeplift_0.9", "\\ud800"), "name: expected text that UTF-8 can hold"),
    "half a pair in a key": Row("record", swap('"cat"', '"\\ud800"'), "expected a key that UTF-8 can hold"),
    "choices as text": Row("record", swap('"choices": {', '"choices": "a", "b": {'), "config.choices: expected dict"),
    "a choice that is a list": Row(
        "record", swap('"init": "deeplift_paper"', '"init": []'), "config.choices.init: expected str"),
    "a key of 3000 letters": Row(
        "record", swap('"compaction"', f'"{"x" * 3000}": 1, "compaction"'), "not a key of a record"),
    "a class of 3000 letters": Row(
        "record", swap('"cat": 0.', f'"{"x" * 3000}": NaN, "cat": 0.'), "expected a finite number"),
    "a wrong sum": Row(
        "record", swap('"kept": 1100', '"kept": 1101'), "sparsity.total: expected kept + pruned = 11001"),
    "an image of one side": Row(
        "record", swap('"image_size": [\n        416,\n        416', '"image_size": [\n        416'),
                                "image_size: expected [height, width]"),
    "stages as an object": Row("record", swap('"stages": [', '"stages": {}, "stagesx": ['), "not a key of a record"),
}  # fmt: skip

SUITES = {
    "empty": Row("robustness", b"", "not JSON"),
    "a list": Row("robustness", b"[]", "expected a JSON object"),
    "no network": Row("robustness", swap('"network": "pruned", ', ""), "network: missing"),
    "NaN": Row("robustness", swap('"curve": [1.0', '"curve": [NaN'), "curve.0: expected a finite number"),
    "a run with NUL": Row("robustness", swap('"run": "a"', '"run": "a\\u0000b"'), "origin.run: expected text"),
    "attacks in words": Row(
        "robustness", swap('"worst_for": 3', '"worst_for": "3"'), "attacks.0.worst_for: expected int"
    ),
    "search: empty": Row("search", b"", "not JSON"),
    "search: no trials": Row("search", swap('"trials"', '"tries"'), "trials: missing"),
    "search: infinity": Row(
        "search", swap('"tolerance": 0.1', '"tolerance": Infinity'), "tolerance: expected a finite"
    ),
    "search: a true ratio": Row("search", swap('"ratio": 0.5', '"ratio": true'), "trials.0.ratio: expected float"),
}

FINETUNE = "  finetune:\n    masked: true\n    epochs: 1\n    exclude: "
RUN_CONFIGS = {
    "empty": Row("run_config", b"", "expected", "config.yaml"),
    "a list": Row("run_config", b"[a, b]", "expected the config of a run"),
    "no text": Row("run_config", b"\xff\xfe\xff", "expected the config of a run"),
    "not closed": Row("run_config", b"a: [b", "expected the config of a run"),
    "nested without end": Row("run_config", b"[" * 100_000, "expected at most 40 levels"),
    "no data": Row("run_config", swap("data:", "dada:"), "data: expected dict, got nothing"),
    "no suppression": Row("run_config", swap("  nms:", "  mns:"), "model.nms: expected dict, got nothing"),
    "no size": Row("run_config", swap("image_size:", "imago_size:"), "data.image_size: expected int, got nothing"),
    "no colours": Row("run_config", swap("greyscale: false", "greyscale: 3"), "data.greyscale: expected bool, got 3"),
    "no data module": Row("run_config", swap("_target_: hydra_det.data.sources.ShapesData", "x: 1"), "data._target_"),
    "no list of layers left out": Row(
        "run_config", swap(FINETUNE, f"{FINETUNE}no #"), "exclude: expected list, got False"),
    "layers that are no names": Row(
        "run_config", swap(FINETUNE, f"{FINETUNE}[1] #"), "exclude: expected names of layers, got 1"),
    "no mask to be left out": Row(
        "run_config", swap("  pretrain:\n    masked: false", "  pretrain:\n    masked: true\n    excluded: 1"),
                           "stage.pretrain.exclude: expected list"),
    "a store that is a list": Row("run_config", swap("store: outputs/store", "store: [a]"), "store: expected str"),
    "an alias": Row("run_config", b"a: &a [1]\nb: *a\n", "line 2: expected plain values, got the yaml alias a"),
    "a tag of Python": Row(
        "run_config", b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    "a variable of the environment": Row("run_config", swap("store: outputs/store", "store: ${oc.env:HOME}"),
                                         "expected plain values, got '${oc.env:HOME}'"),
    "the same, hidden": Row(
        "run_config", swap("store: outputs/store", r'store: "\x24{oc.env:HOME}"'), "expected plain values"),
    "the same, twice removed": Row(
        "run_config", swap("store: outputs/store", r"store: \${oc.env:HOME}"), "expected plain"),
    "a program": Row(
        "run_config", swap("hydra_det.modules.yolo.yolov3.YOLOv3", "os.system"), "model._target_: expected a class"),
    "a program behind a module of ours": Row(
        "run_config", swap("hydra_det.modules.yolo.yolov3.YOLOv3", "hydra_det.records.provenance.subprocess.run"),
        "model._target_",
    ),
    "a program within": Row(
        "run_config", swap("store: outputs/store", "store: a\nextra:\n  x:\n  - {_target_: os.system}"),
                            "extra.x.0._target_: expected a class"),
    "a target that is no name": Row("run_config", swap("store: outputs/store", "store: a\nb: {_target_: [os, system]}"),
                                    "b._target_: expected a class"),
}  # fmt: skip


@pytest.mark.parametrize("row", as_parameters(RECORDS))
def test_records_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(SUITES))
def test_results_of_suites_and_searches_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)


@pytest.mark.parametrize("row", as_parameters(RUN_CONFIGS))
def test_configs_in_the_folders_of_runs_are_refused(row, tmp_path):
    assert_refused(row, tmp_path)
