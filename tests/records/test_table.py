"""From files to a table: every number in its place, unreadable records named."""

import dataclasses
import math
import subprocess
import sys

import pytest

from hydra_det.records.record import write_record
from hydra_det.records.table import (
    COLUMNS,
    configurations,
    fastest_of,
    load_records,
    records_frame,
    typed_apart,
)
from hydra_det.records.traits import USUAL, usual_among
from tests.reports.example import example_record, latency, network, older
from tests.reports.tables.test_compaction import completed

PRETRAIN = {"epochs": 6, "attacked_share": 0.5, "clean_epochs": 4}
STAGE = {"attacked_share": 0.5, "callbacks": {"topk_mask": {"granularity": "weight"}}}


@pytest.fixture
def sweep(tmp_path):
    write_record(
        tmp_path / "b" / "record.json",
        example_record(name="second", seed=8, overrides=["prune.ratio=0.9", "init=scaled"]),
    )
    write_record(tmp_path / "a" / "deep" / "record.json", example_record(name="first"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    (tmp_path / "half").mkdir()
    return tmp_path


def test_records_and_problems_by_folder(sweep):
    records, problems = load_records(sweep)
    assert {folder: record.name for folder, record in records.items()} == {"a/deep": "first", "b": "second"}
    assert list(problems) == ["broken"]
    assert "not JSON" in problems["broken"]


def test_a_single_run_is_a_sweep_of_one(sweep):
    assert list(load_records(sweep / "b")[0]) == ["."]


def test_row_holds_every_number(sweep):
    frame = records_frame(load_records(sweep)[0])
    assert tuple(frame.columns) == COLUMNS
    row = frame.loc[0].to_dict()
    assert len(row.pop("recipe")) == 8
    unasked = [f"{part}_ms_sparse" for part in ("forward", "total")]
    unasked += [f"total_ms_{network}_fastest" for network in ("dense", "compact")]
    assert all(math.isnan(row.pop(name)) for name in unasked), "nobody asked for them"
    assert row == {
        "name": "first",
        "configuration": "deeplift_paper, kernel",
        "granularity": "kernel",
        "init": "deeplift_paper",
        "greyscale": False,
        "allocation": "uniform",
        "pretraining": None,  # this record does not say
        "hardening": None,
        "varied": "init=deeplift",
        "ratio": 0.9,
        "seed": 7,
        "sparsity": pytest.approx(9_900 / 11_000),
        "map_clean_dense": 0.412,
        "map_clean_pruned": 0.304,
        "map_attacked_dense": 0.313,
        "map_attacked_pruned": 0.245,
        "map_50_clean_dense": pytest.approx(0.612),
        "map_50_clean_pruned": pytest.approx(0.504),
        "map_50_attacked_dense": pytest.approx(0.513),
        "map_50_attacked_pruned": pytest.approx(0.445),
        "map_50_paper_clean_dense": pytest.approx(0.602),
        "map_50_paper_clean_pruned": pytest.approx(0.494),
        "map_50_paper_attacked_dense": pytest.approx(0.503),
        "map_50_paper_attacked_pruned": pytest.approx(0.435),
        "forward_ms_dense": 426.0,
        "forward_ms_pruned": 417.0,
        "decode_ms_dense": 3.25,
        "decode_ms_pruned": 3.25,
        "nms_ms_dense": 2.5,
        "nms_ms_pruned": 2.5,
        "total_ms_dense": 431.75,
        "total_ms_pruned": 422.75,
        "forward_ms_compact": 301.0,
        "decode_ms_compact": 3.25,
        "nms_ms_compact": 2.5,
        "total_ms_compact": 306.75,
        "nms_coco_ms_dense": 9.5,
        "nms_coco_ms_pruned": 9.5,
        "nms_coco_ms_compact": 9.5,
        "total_coco_ms_dense": 438.75,
        "total_coco_ms_pruned": 429.75,
        "total_coco_ms_compact": 313.75,
        "nms_confidence": 0.5,
        "parameters_dense": 11_000,
        "parameters_compact": 7_000,
        "flops_dense": 9_900_000,
        "flops_compact": 6_300_000,
        "megabytes_dense": 0.044,
        "megabytes_compact": 0.028,
        "seconds": 125.0 + 0.25 + 600.0,  # reused stages cost this run nothing
        "seconds_of_stages": 7_384.0 + 3.5 + 125.0 + 0.25 + 600.0,
        "folder": "a/deep",
    }


def test_each_network_in_its_fastest_engine_where_one_image_was_timed() -> None:
    frame = records_frame({"a": completed(sparse=True)})
    assert tuple(frame.columns) == COLUMNS
    row = frame.iloc[0]
    assert (row["total_ms_dense_fastest"], row["total_ms_compact_fastest"]) == (205.75, 55.75)
    assert (fastest_of(completed())["compact"].engine, fastest_of(completed(sparse=True))["compact"].engine) == (
        "openvino",
        "sparse",
    )
    eight = completed()
    for entry in eight.compaction["latency"]:
        entry["latency"]["batch_size"] = 8
    assert fastest_of(eight) == {}, "a time of eight images is none of one"


def test_nms_of_an_older_record_is_that_from_cocos_confidence_on():
    timed = {name: older(latency) for name, latency in example_record().latency.items()}
    row = records_frame({"a": example_record(latency=timed)}).iloc[0]
    assert row["nms_confidence"] == 0.001
    assert row["nms_ms_dense"] == row["nms_coco_ms_dense"] == 2.5
    assert row["total_ms_compact"] == row["total_coco_ms_compact"] == 306.75


def test_every_seed_may_start_from_weights_of_its_own_but_none_is_another_configuration():
    config = {"choices": {"init": "scaled"}, "model": {"width": 1.0, "weights": "of_seed_1"}}
    runs = {
        "a": example_record(config=config),
        "b": example_record(config={**config, "model": {"width": 1.0, "weights": "of_seed_2"}}, seed=2),
        "c": example_record(config={**config, "model": {"width": 1.0, "weights": None}}),
    }
    found = configurations(runs)
    assert found["a"] == found["b"] != found["c"]


def test_runs_of_one_configuration_differ_by_seed_and_ratio():
    config = {"choices": {"init": "scaled"}, "data": {"seed": 1, "greyscale": True}, "prune": {"ratio": 0.5}, "lr": 0.1}
    other = {**config, "data": {"seed": 2, "greyscale": True}, "prune": {"ratio": 0.9}}
    longer = {**config, "lr": 0.2}
    words = ["prune.ratio=0.5", "seed=1", "stage.lr=0.2"]
    alike = {"a": example_record(config=config), "b": example_record(config=other, seed=2)}
    assert configurations(alike) == dict.fromkeys("ab", "scaled, kernel, greyscale")
    found = configurations(alike | {"c": example_record(config=longer, overrides=words)})
    assert found["c"] == "scaled, kernel, greyscale, stage.lr=0.2"
    assert found["a"] == found["b"] != found["c"]
    untold = {
        name: example_record(config=given, overrides=["init=scaled"]) for name, given in (("a", config), ("b", longer))
    }
    assert sorted(configurations(untold).values()) == [f"scaled, kernel, greyscale, {k}" for k in "AB"]


@pytest.mark.parametrize(
    ("pretrain", "hardening", "name"),
    [
        ({"epochs": 6, "clean_epochs": 4, "attacked_share": 0.25}, "attacked", "scaled, kernel"),
        ({"epochs": 6, "clean_epochs": 4, "attacked_share": 0.0}, "attacked", "scaled, kernel, clean pretraining"),
        ({"epochs": 4, "clean_epochs": 4, "attacked_share": 1.0}, "attacked", "scaled, kernel, clean pretraining"),
        ({"epochs": 0, "clean_epochs": 0, "attacked_share": 0.0}, "attacked", "scaled, kernel, no pretraining"),
        ({"epochs": 6, "clean_epochs": 4, "attacked_share": 0.5}, "fast", "scaled, kernel, fast hardening"),
        ({"epochs": 6, "attacked_share": 0}, "free", "scaled, kernel, clean pretraining, free hardening"),
        ({"epochs": 6}, "attacked", "scaled, kernel"),
        (None, "attacked", "scaled, kernel"),
    ],
)
def test_pretraining_and_hardening_that_are_not_the_usual_ones_are_named(pretrain, hardening, name):
    config = {"choices": {"init": "scaled", "hardening": hardening}, "stage": {"pretrain": pretrain}}
    others = {"choices": {"init": "snip", "hardening": "attacked" if hardening != "attacked" else "free"}}
    found = configurations({"a": example_record(config=config), "b": example_record(config=others)})
    assert found["a"] == name


def test_how_all_are_hardened_goes_without_saying():
    fast, full = ({"choices": {"init": "scaled", "hardening": name}} for name in ("fast", "attacked"))
    assert configurations({"a": example_record(config=fast)}) == {"a": "scaled, kernel"}
    both = configurations({"a": example_record(config=fast), "b": example_record(config=full)})
    assert both == {"a": "scaled, kernel, fast hardening", "b": "scaled, kernel"}
    assert usual_among(["fast", None, float("nan")])["hardening"] == "fast"
    assert usual_among(["fast", "free"]) == usual_among([]) == USUAL


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"choices": {"init": "deeplift_paper", "hardening": "fast"}}, True),
        ({"init": {"target": "assigned"}, "prune": {"ratio": 0.9, "granularity": "hybrid"}}, True),
        ({"hardening": {"steps": 1}, "data": {"greyscale": True, "image_size": 256, "root": "/b"}}, True),
        ({"data": {"greyscale": False, "image_size": 320, "root": "/a"}}, False),
        ({"stage": {"pretrain": {"epochs": 6, "attacked_share": 0.0, "clean_epochs": 6}, "finetune": STAGE}}, True),
        ({"stage": {"pretrain": {"epochs": 9, "attacked_share": 0.5, "clean_epochs": 4}, "finetune": STAGE}}, False),
        (
            {"stage": {"pretrain": PRETRAIN, "finetune": STAGE | {"callbacks": {"topk_mask": {"granularity": "nm"}}}}},
            True,
        ),
        ({"stage": {"pretrain": PRETRAIN, "finetune": STAGE | {"attacked_share": 0.0}}}, False),
        ({"lr": 0.2}, False),
    ],
)
def test_runs_of_one_recipe_differ_in_what_claims_are_about(change, same):
    config = {
        "choices": {"init": "scaled"},
        "data": {"greyscale": False, "image_size": 256, "root": "/a"},
        "stage": {"pretrain": PRETRAIN, "finetune": STAGE},
        "lr": 0.1,
    }
    frame = records_frame({"a": example_record(config=config), "b": example_record(config=config | change)})
    assert (frame["recipe"][0] == frame["recipe"][1]) == same


def test_runs_told_apart_in_words_need_no_letters():
    """Beside a run that only what was typed tells from another one, which still is added."""
    attacked = {"epochs": 6, "clean_epochs": 4, "attacked_share": 0.5}
    clean = attacked | {"attacked_share": 0.0}
    choices = {"init": "scaled", "hardening": "attacked"}
    records = {
        "plain": example_record(config={"choices": choices, "stage": {"pretrain": attacked}}, overrides=[]),
        "clean": example_record(
            config={"choices": choices, "stage": {"pretrain": clean}}, overrides=["stage.pretrain.attacked_share=0"]
        ),
        "longer": example_record(
            config={"choices": choices, "stage": {"pretrain": attacked | {"epochs": 9}}},
            overrides=["stage.pretrain.epochs=9"],
        ),
    }
    assert configurations(records) == {
        "plain": "scaled, kernel",
        "clean": "scaled, kernel, clean pretraining",
        "longer": "scaled, kernel, stage.pretrain.epochs=9",
    }


def test_times_in_the_sparse_engine():
    timed = example_record(latency={"compact": latency(9.0), "sparse": latency(3.0)})
    row = records_frame({".": timed}).to_dict("records")[0]
    assert (row["forward_ms_sparse"], row["total_ms_sparse"]) == (3.0, 8.75)


def test_what_was_not_measured_is_nan():
    bare = example_record(metrics={"dense": network(0.4, None), "pruned": network(0.3, None)}, latency={})
    row = records_frame({".": bare}).to_dict("records")[0]
    assert math.isnan(row["map_attacked_dense"])
    assert math.isnan(row["total_ms_pruned"])
    assert row["map_clean_pruned"] == 0.3


def test_no_records_give_an_empty_frame(tmp_path):
    records, problems = load_records(tmp_path)
    assert (records, problems) == ({}, {})
    assert tuple(records_frame(records).columns) == COLUMNS


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"choices": {"init": "snip", "prune": "weight"}, "init": {"_target_": "a.b.Other"}}, "snip"),
        # Before 0.2 `deeplift` was what is `deeplift_paper` now.
        ({"choices": {"init": "deeplift"}, "init": {"_target_": "hydra_det.init.deeplift.DeepLift"}}, "deeplift_paper"),
        (
            {"choices": {"init": "deeplift"}, "init": {"_target_": "hydra_det.init.deeplift.AdversarialDeepLift"}},
            "deeplift",
        ),
        ({"choices": {}}, None),
        ({}, None),
    ],
)
def test_name_of_the_initialisation(config, expected):
    init = records_frame({".": example_record(config=config)})["init"][0]
    assert init == expected if expected else init is None or math.isnan(init)


def test_reports_need_no_torch():
    code = "import sys, hydra_det.records.table, hydra_det.reports.tables.terminal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_says_only_what_was_not_typed_for_all():
    words = [f"data.setting_{place}={place}" for place in range(12)]
    records = {
        flip: example_record(
            config={"data": {"flip": flip}, "choices": {"init": "scaled"}}, overrides=[*words, f"data.flip={flip}"]
        )
        for flip in ("0", "0.25")
    }
    assert configurations(records) == {flip: f"scaled, kernel, data.flip={flip}" for flip in ("0", "0.25")}
    long = {flip: f"data.flip_{'p' * 60}={flip}" for flip in records}
    records = {flip: dataclasses.replace(record, overrides=[*words, long[flip]]) for flip, record in records.items()}
    assert configurations(records) == {"0": "scaled, kernel, A", "0.25": "scaled, kernel, B"}
    names = dict.fromkeys(records, "scaled, kernel")
    assert typed_apart(records, names) == long


def test_other_images_are_another_configuration_only_where_a_seed_saw_both():
    def run(seed, images, root):
        config = {"data": {"root": root}, "choices": {"init": "scaled"}}
        dataset = {**example_record().dataset, "fingerprint": images}
        return example_record(
            config=config, seed=seed, dataset=dataset, overrides=[f"data.root={root}", f"seed={seed}"]
        )

    moved = {"a": run(0, "one", "/a"), "b": run(1, "one", "/b"), "c": run(2, "two", "/c")}
    assert set(configurations(moved).values()) == {"scaled, kernel"}
    both = {"a": run(0, "one", "/a"), "b": run(0, "two", "/b")}
    assert configurations(both) == {"a": "scaled, kernel, data.root=/a", "b": "scaled, kernel, data.root=/b"}
