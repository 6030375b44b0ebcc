"""`trainer.precision=auto`: bfloat16 for training where a machine has units for it, scores in float32 everywhere."""

import pytest
import torch

from hydra_det.pipeline import precision
from hydra_det.pipeline.check import check
from hydra_det.pipeline.precision import FULL, HALF, has_units, looked_at, of_scores, say_choice, settled
from hydra_det.records.record import read_record
from hydra_det.sweeps.check import check_objectives
from hydra_det.types import InputError
from tests.pipeline.tiny import compose, planned, run

X86 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f {}\nbugs\t\t: amx_bf16\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "CPUINFO", file)
    return file


@pytest.mark.parametrize(("text", "found"), [
    (X86.format("avx512_bf16"), True),
    (X86.format("amx_bf16 amx_tile"), True),
    (X86.format("avx512_vnni"), False),
    ("Features\t: fp asimd bf16\n", True),
    ("Features\t: fp asimd\n", False),
    (None, False),
])  # fmt: skip
def test_units_of_a_processor(cpuinfo, text, found):
    if text is not None:
        cpuinfo.write_text(text)
    assert has_units("cpu") is found


def test_a_gpu_that_only_emulates_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_units("gpu")


def config(asked: str, *, scores: str | None = None) -> dict:
    return {
        "trainer": {"precision": asked, "accelerator": "cpu", "devices": 1},
        "evaluation": {"precision": scores, "samples": 0},
        "model": {"width": 1, "channels_last": False},
    }


def test_what_is_asked_for_stays(cpuinfo):
    cpuinfo.write_text(X86.format("avx512_bf16"))
    for asked in (FULL, HALF, "16-mixed"):
        given = config(asked)
        assert settled(given) is given
        assert of_scores(given)["trainer"]["precision"] == asked
    assert of_scores(config(HALF, scores=FULL))["trainer"] == config(FULL)["trainer"]


@pytest.mark.parametrize(("flags", "chosen"), [("avx512_bf16", HALF), ("avx512_vnni", FULL)])
def test_auto(cpuinfo, flags, chosen, caplog):
    caplog.set_level("INFO")
    precision._say.cache_clear()
    cpuinfo.write_text(X86.format(flags))
    given = config("auto")
    found = settled(given)
    assert not caplog.text, "a config that is only looked at says nothing"
    say_choice(config(chosen), config(chosen))
    assert not caplog.text, "nobody asked"
    say_choice(given, found)
    beside = " with channels_last" if chosen == HALF else ""
    assert f"trainer.precision=auto: {chosen}{beside}, as this cpu" in caplog.text
    assert "AP is computed in 32-true" in caplog.text
    assert given == config("auto"), "it is not changed"
    assert found["trainer"] == {"precision": chosen, "accelerator": "cpu", "devices": 1}
    assert found["evaluation"] == {"precision": FULL if chosen == HALF else None, "samples": 0}
    assert found["model"] == {"width": 1, "channels_last": chosen == HALF}
    assert of_scores(found)["trainer"]["precision"] == FULL
    assert settled(config("auto", scores=HALF))["evaluation"]["precision"] == HALF, "unless it is asked for"


def test_a_look_at_a_config_wakes_no_gpu(monkeypatch):
    monkeypatch.setattr(precision, "has_units", None)
    assert looked_at(config("auto")) == config(FULL)
    assert looked_at(config(HALF)) == config(HALF)
    check(compose([]))
    check_objectives(compose(["objectives=[latency_ms]"]))


def test_it_is_the_default():
    assert compose([])["trainer"]["precision"] == "auto"


def test_numbers_of_scores_that_are_none_are_refused_before_anything_is_trained(tmp_path):
    for asked in ("auto", "fp16", "bf16-true"):
        with pytest.raises(InputError, match=rf"evaluation.precision: expected 32-true, .*, got {asked}"):
            run(tmp_path, f"evaluation.precision={asked}", "dry_run=true")


def test_what_is_timed_may_be_beside_auto():
    """The check of objectives asks a trainer for its processes before anything is chosen."""
    trainer = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1, "precision": "auto"}
    timed = {
        "trainer": {**trainer, "enable_progress_bar": False},
        "objectives": ["latency_ms"],
        "dry_run": False,
        "evaluation": {"latency": {"sparse": False}},
    }
    check_objectives(timed)
    with pytest.raises(InputError, match="objectives: expected one process for latency_ms"):
        check_objectives({**timed, "trainer": {**trainer, "enable_progress_bar": False, "devices": 2}})


@pytest.mark.parametrize("flags", ["avx512_bf16", "avx512_vnni"])
def test_a_run_says_what_it_chose_and_is_found_again(cpuinfo, tmp_path, flags):
    cpuinfo.write_text(X86.format(flags))
    record = run(tmp_path, "trainer.precision=auto", "trainer.accelerator=cpu")
    chosen = HALF if flags == "avx512_bf16" else FULL
    assert record.config["trainer"]["precision"] == chosen
    assert record.config["evaluation"]["precision"] == (FULL if chosen == HALF else None)
    assert read_record(tmp_path / "run" / "record.json") == record
    beside = ["evaluation.precision=32-true", "model.channels_last=true"] if chosen == HALF else []
    same = run(tmp_path, f"trainer.precision={chosen}", "trainer.accelerator=cpu", *beside)
    assert same == record, "it depends on what was chosen, and so do its scores"
    other = planned(tmp_path, f"trainer.precision={FULL if chosen == HALF else HALF}", "trainer.accelerator=cpu")
    assert not any(stage.found for stage in other), "what is trained depends on what was chosen"
