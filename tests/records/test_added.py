"""A setting that is added, at its default, makes nothing anew that the store has."""

from pathlib import Path
from typing import Any

import pytest

from hydra_det.pipeline.run_folder import earlier_record
from hydra_det.records.added import ADDED, without_added
from hydra_det.records.record import RECORD_NAME, write_record
from hydra_det.records.table import bound_config
from hydra_det.store.store import fingerprint
from tests.reports.example import example_record

PGD: dict[str, Any] = {
    "_target_": "hydra_det.attacks.gradient.PGD", "epsilon": 0.05, "step_size": 0.02, "steps": 5, "random_start": False,
    "norm": "linf", "objective": "total", "restarts": 1, "eight_bit": False,
}  # fmt: skip


def scored(attack: dict[str, Any]) -> dict[str, Any]:
    return {"evaluate": {"stage": "finetune"}, "attack": attack}


def trained(attack: dict[str, Any]) -> dict[str, Any]:
    batch = {"_target_": "hydra_det.callbacks.hardening.adversarial_batch.AdversarialBatch", "training": attack}
    return {"stage": "pretrain", "config": {"callbacks": [batch, {"start": attack}]}}


@pytest.mark.parametrize(("inputs", "known"), [(scored, "3cf303914fa7"), (trained, "733515a88591")])
def test_what_was_stored_before_attacks_had_padding_is_found(inputs: Any, known: str) -> None:
    assert fingerprint(inputs(PGD)) == known
    assert fingerprint(inputs({**PGD, "padding": False})) == known
    assert fingerprint(inputs({**PGD, "padding": True})) != known


def test_nothing_else_is_left_out() -> None:
    config = [
        {"_target_": "hydra_det.init.deeplift.DeepLift", "padding": False},
        {"padding": False, "_target_": 5, "parts": [{"padding": False}]},
        {"_target_": "hydra_det.attacks.gradient.PGD", "padding": True, "eight_bit": False},
    ]
    assert without_added(config) == config
    start = {"_target_": "hydra_det.attacks.gradient.PGD", "steps": 3}
    later: dict[str, Any] = {
        "_target_": "hydra_det.attacks.momentum.Momentum",
        "padding": True,
        "start": {**start, "padding": False},
    }
    assert without_added(later) == {**later, "start": start}
    assert later["start"]["padding"] is False, "the config itself stays"
    assert set(ADDED) == {"hydra_det.attacks.", "hydra_det.init.", "hydra_det.sweeps.target."}
    untimed = {"images": {"sparse": False}, "latency": {"sparse": True}}
    assert without_added(untimed) == untimed


SNIP: dict[str, Any] = {
    "_target_": "hydra_det.init.gradient.Snip", "aggregation": "absolute", "sizes": "contributions", "images": 64,
    "micro_batch": 4, "attacked": False,
}  # fmt: skip


@pytest.mark.parametrize(("changes", "same"), [
    ({"normalise": "none", "blend": "none", "blend_share": 0.5}, True),
    ({"blend": "rank"}, False),
    ({"normalise": "channels"}, False),
])  # fmt: skip
def test_scores_of_before_they_could_be_blended_are_found(changes: Any, same: bool) -> None:
    def stage(initialiser: Any) -> Any:
        return {"stage": "init_scores", "config": {"callbacks": {"score_init": {"initialiser": initialiser}}}}

    assert (fingerprint(stage({**SNIP, **changes})) == fingerprint(stage(SNIP))) == same


@pytest.mark.parametrize(("sparse", "bound", "same"), [(False, None, True), (True, None, False), (False, 3.0, False)])
def test_a_run_of_before_there_were_times_in_sparse(tmp_path: Path, sparse: bool, bound: Any, same: bool) -> None:
    aim: dict[str, Any] = {"_target_": "hydra_det.sweeps.target.Target", "latency_ms": None}
    before = {"seed": 1, "stage": {}, "target": aim, "evaluation": {"latency": {"images": 8}}}
    write_record(tmp_path / RECORD_NAME, example_record(config=before))
    asked = {**before, "target": {**aim, "sparse_latency_ms": bound}}
    asked["evaluation"] = {"latency": {"images": 8, "sparse": sparse}}
    assert (earlier_record(tmp_path, asked) is not None) == same


def test_a_run_of_before_is_the_run_that_is_asked_for_and_of_its_configuration(tmp_path: Path) -> None:
    record = example_record(config={"seed": 1, "attack": PGD, "stage": {}})
    write_record(tmp_path / RECORD_NAME, record)
    for padding, same in ((False, True), (True, False)):
        asked = {"seed": 1, "attack": {**PGD, "padding": padding}, "stage": {}}
        assert (earlier_record(tmp_path, asked) is not None) == same
        assert (bound_config(asked) == bound_config(record.config)) == same
